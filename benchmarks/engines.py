"""Speed of simulators that an engine steps, in this process and in workers: python benchmarks/engines.py [WORKERS]."""

import statistics
import sys
import time

import torch

from gapclose.cores import cores
from gapclose.engines.pool import workers
from gapclose.envs.ant_maze import AntMaze
from gapclose.envs.engine_simulator import EngineSimulator
from gapclose.envs.point_maze import PointMaze
from gapclose.envs.pusht import PushT
from gapclose.seeds import generator

BATCHES, STEPS, REPEATS = (64, 256, 1024), {"point_maze": 30, "ant_maze": 10, "pusht": 10}, 5


def seconds(simulator: EngineSimulator, start: torch.Tensor, actions: torch.Tensor) -> float:
    """How long a rollout takes."""
    began = time.perf_counter()
    simulator.rollout(start, actions)
    return time.perf_counter() - began


def main() -> None:
    torch.set_num_threads(1)
    number = int(sys.argv[1]) if len(sys.argv) > 1 else cores()
    for simulator in (PointMaze(), AntMaze(), PushT()):
        for batch in BATCHES:
            start = simulator.sample_tasks(batch, generator("benchmark")).start
            shape = batch, STEPS[simulator.name], simulator.action_dim
            share = torch.rand(shape, generator=generator("benchmark", batch))
            actions = torch.lerp(simulator.action_low, simulator.action_high, share)
            found: dict[int, list[float]] = {0: [], number: []}
            for repeat in range(-1, REPEATS):  # In turns, and the first is to warm up.
                for count, times in found.items():
                    workers.number = count  # Those of before stay.
                    spent = seconds(simulator, start, actions)
                    if repeat >= 0:
                        times.append(spent)
            alone, together = (statistics.median(times) for times in found.values())
            print(
                f"{simulator.name}, {batch} rollouts of {shape[1]} steps: {shape[0] * shape[1] / alone:,.0f} steps/s "
                f"in one process, {alone / together:.2f} times that with {number} workers (medians of {REPEATS})"
            )


if __name__ == "__main__":
    main()
