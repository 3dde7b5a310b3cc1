# Each target does all its own set-up: the virtual environment, the installation, the run.
VENV ?= .venv
PYTHON ?= python3
ARGS ?=

TABLE ?= wall

SWEEPS_wall = wall_pgd wall wall_attacks wall_baselines wall_price
SWEEPS_point_maze = point_maze point_maze_adversarial point_maze_baselines point_maze_oracle
SWEEPS_pusht = pusht pusht_adversarial pusht_baselines pusht_oracle
SWEEPS = $(SWEEPS_$(TABLE))

.PHONY: demo test lint docs results $(SWEEPS:%=sweep-%)

demo: $(VENV)/installed
	$(VENV)/bin/python train.py finetune=online $(ARGS)

test: $(VENV)/installed
	$(VENV)/bin/python -m pytest $(ARGS)

# The table of docs/results/wall.md, and multirun/wall/report.html; likewise with TABLE=point_maze or TABLE=pusht.
# make -j2 runs two sweeps at a time. Run again, it resumes where it was interrupted.
results: $(SWEEPS:%=sweep-%)
	$(VENV)/bin/python -m gapclose.sweeps multirun/$(TABLE) --page docs/results/$(TABLE).md
	$(VENV)/bin/python -m gapclose.report multirun/$(TABLE)

$(SWEEPS:%=sweep-%): sweep-%: $(VENV)/installed
	OMP_NUM_THREADS=1 $(VENV)/bin/python train.py sweep=$* num_threads=1 logger=none $(ARGS)

lint: $(VENV)/installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

# The site in build/site; fails on links that lead nowhere and on docstrings that name what is not there.
docs: $(VENV)/installed
	$(VENV)/bin/python docs/site/build.py

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@
