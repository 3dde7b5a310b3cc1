"""How long commands take to start: medians of ten, in turn for each checkout that is named.

.venv/bin/python benchmarks/start.py [CHECKOUT ...]
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parents[1]
ROUNDS = 10
TINY = [
    "logger=none",
    "model=mlp",
    "data.num_trajectories=20",
    "data.steps=8",
    "baseline.epochs=1",
    "baseline.steps_per_epoch=10",
    "planner.horizon=6",
    "planner.num_samples=8",
    "planner.num_starts=2",
    "planner.iterations=2",
    "evaluation.num_tasks=4",
]


def commands(folder: Path, attempt: int) -> dict[str, list[str]]:
    train, data = ["train.py"], f"data_dir={folder / 'data'}"
    return {
        "import gapclose": ["-c", "import gapclose"],
        "train.py --help": [*train, "--help"],
        "a finished job in a sweep": [*train, "-m", *TINY, "seed=0", data, f"hydra.sweep.dir={folder / 'sweep'}"],
        "a tiny run": [*train, *TINY, data, f"hydra.run.dir={folder / f'run{attempt}'}"],
    }


def seconds(checkout: Path, command: list[str]) -> tuple[float, float]:
    """Wall-clock and processor time of a command."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    wall, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, *command], cwd=checkout, check=True, stdout=subprocess.DEVNULL, env=environment)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - wall, used


if __name__ == "__main__":
    checkouts = [Path(name).resolve() for name in sys.argv[1:]] or [HERE]
    found: dict[tuple[str, Path], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for attempt in range(ROUNDS + 1):  # the first, which also makes data and baseline, does not count
            for number, checkout in enumerate(checkouts):
                for name, command in commands(Path(temporary, str(number)), attempt).items():
                    taken = seconds(checkout, command)
                    if attempt:
                        found.setdefault((name, checkout), []).append(taken)
    for (name, checkout), taken in sorted(found.items()):
        wall, used = (median(values) for values in zip(*taken))
        print(f"{name:<28}{wall:6.2f} s, processor {used:6.2f} s   {checkout}")
