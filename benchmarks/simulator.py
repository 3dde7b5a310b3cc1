"""Speed of the wall simulator and of expert data: python benchmarks/simulator.py."""

import statistics
import time

import torch

from gapclose.data.behaviours import Expert
from gapclose.data.collect import collect
from gapclose.envs.wall import Wall
from gapclose.seeds import generator

ROLLOUTS, STEPS, REPEATS = 10_000, 50, 9


def main() -> None:
    torch.set_num_threads(1)
    wall = Wall()
    start = wall.sample_tasks(ROLLOUTS, generator("benchmark")).start
    actions = wall.action_high * (2 * torch.rand(ROLLOUTS, STEPS, 2) - 1)
    wall.rollout(start, actions)
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        wall.rollout(start, actions)
        seconds.append(time.perf_counter() - began)
    speed = ROLLOUTS * STEPS / statistics.median(seconds) / 1e6
    print(f"{ROLLOUTS} rollouts of {STEPS} steps on one core: {speed:.1f} million steps/s (median of {REPEATS})")
    began = time.perf_counter()
    collect(wall, Expert(0.1), num_trajectories=1000, steps=30, seed=0)
    print(f"1,000 expert trajectories of 30 steps: {time.perf_counter() - began:.3f} s")


if __name__ == "__main__":
    main()
