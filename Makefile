# Each target does all its own set-up: the virtual environment, the installation, the run.
VENV ?= .venv
PYTHON ?= python3
ARGS ?=

.PHONY: demo test lint

demo: $(VENV)/installed
	$(VENV)/bin/python train.py finetune=online $(ARGS)

test: $(VENV)/installed
	$(VENV)/bin/python -m pytest $(ARGS)

lint: $(VENV)/installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@
