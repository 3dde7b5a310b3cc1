"""Task sources of planner rollouts: random tasks, pairs of states of the data, or failed tasks."""

from typing import Any

import torch
from torch import Tensor

from gapclose.data.trajectories import Trajectories
from gapclose.envs.simulator import Simulator, Tasks


class RandomTasks:
    """Random tasks of the simulator, and the base class of other task sources.

    Args:
        simulator: the simulator.
        horizon: number of steps of a plan.
    """

    def __init__(self, simulator: Simulator, horizon: int) -> None:
        self.simulator, self.horizon = simulator, horizon

    def draw(self, n: int, random: torch.Generator, expert: Trajectories) -> tuple[Tasks, Tensor]:
        """Draws `n` tasks, and returns which of them are new, that is never planned before: bool `[n]`.

        Args:
            n: number of tasks.
            random: source of randomness.
            expert: training split of the collected data.
        """
        return self.simulator.sample_tasks(n, random), torch.ones(n, dtype=torch.bool)

    def record(self, tasks: Tasks, success: Tensor) -> None:
        """Records the success, bool `[n]`, of the plans for the tasks drawn last."""

    def state_dict(self) -> dict[str, Any]:
        """Returns the state that a resumed run needs."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a state returned by `state_dict`."""


class DatasetTasks(RandomTasks):
    """Pairs of states of the data that are one horizon apart in the same trajectory.

    So every goal can be reached within a plan. Trajectories shorter than the horizon are used whole.
    """

    def draw(self, n: int, random: torch.Generator, expert: Trajectories) -> tuple[Tasks, Tensor]:
        steps = min(self.horizon, expert.actions.shape[1])
        index = torch.randint(expert.num_windows(steps), (n,), generator=random)
        states = expert.windows(index, steps).states
        return Tasks(states[:, 0], states[:, -1]), torch.ones(n, dtype=torch.bool)


class FailedTasks(RandomTasks):
    """Up to half of the tasks from the pool of failed ones; the others are random.

    A task joins the pool when its plan fails, and leaves it when a plan for it succeeds.
    """

    def __init__(self, simulator: Simulator, horizon: int) -> None:
        super().__init__(simulator, horizon)
        self.pool = Tasks(*torch.empty(2, 0, simulator.state_dim))

    def draw(self, n: int, random: torch.Generator, expert: Trajectories) -> tuple[Tasks, Tensor]:
        order = torch.randperm(len(self.pool.start), generator=random)
        drawn, remaining = order[: n // 2], order[n // 2 :]
        new = self.simulator.sample_tasks(n - len(drawn), random)
        tasks = Tasks(*(torch.cat((failed[drawn], states)) for failed, states in zip(self.pool, new)))
        self.pool = Tasks(*(failed[remaining] for failed in self.pool))
        return tasks, torch.arange(n) >= len(drawn)

    def record(self, tasks: Tasks, success: Tensor) -> None:
        self.pool = Tasks(*(torch.cat((failed, states[~success])) for failed, states in zip(self.pool, tasks)))

    def state_dict(self) -> dict[str, Any]:
        return self.pool._asdict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pool = Tasks(**state)
        if any(states.shape != (len(pool.start), self.simulator.state_dim) for states in pool):
            raise ValueError("the failed tasks in the checkpoint are not states of this environment")
        self.pool = pool


TASKS = {"random": RandomTasks, "dataset": DatasetTasks, "failures": FailedTasks}
"""The task sources, by the value of `PlannerRollouts(tasks=...)`."""
