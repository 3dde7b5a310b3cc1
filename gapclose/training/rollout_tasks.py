"""What planner rollouts are planned for: new tasks, pairs of states of the data, or what has failed so far."""

from typing import Any

import torch
from torch import Tensor

from gapclose.data.trajectories import Trajectories
from gapclose.envs.simulator import Simulator, Tasks


class RandomTasks:
    """New tasks from the simulator's task distribution; and what the other sources of tasks vary.

    Args:
        simulator: has the task distribution.
        horizon: steps of a plan.
    """

    def __init__(self, simulator: Simulator, horizon: int) -> None:
        self.simulator, self.horizon = simulator, horizon

    def draw(self, n: int, random: torch.Generator, expert: Trajectories) -> tuple[Tasks, Tensor]:
        """`n` tasks, and which of them were never planned before: bool `[n]`.

        Args:
            n: how many.
            random: decides which.
            expert: the training split of the data.
        """
        return self.simulator.sample_tasks(n, random), torch.ones(n, dtype=torch.bool)

    def note(self, tasks: Tasks, success: Tensor) -> None:
        """Takes notice of how plans for the tasks last drawn ended: bool `[n]`."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to go on."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over the state of another run."""


class DatasetTasks(RandomTasks):
    """From a state of the data to one that comes a plan's horizon later in the same trajectory.

    So the data show that every goal is within a plan's reach. Where trajectories are shorter than the horizon, they are
    taken whole.
    """

    def draw(self, n: int, random: torch.Generator, expert: Trajectories) -> tuple[Tasks, Tensor]:
        steps = min(self.horizon, expert.actions.shape[1])
        index = torch.randint(expert.num_windows(steps), (n,), generator=random)
        states = expert.windows(index, steps).states
        return Tasks(states[:, 0], states[:, -1]), torch.ones(n, dtype=torch.bool)


class FailedTasks(RandomTasks):
    """Half of the tasks, or as many as there are, from the pool of those that failed when last planned; the rest new.

    A task joins the pool when its plan fails and leaves it when its plan succeeds.
    """

    def __init__(self, simulator: Simulator, horizon: int) -> None:
        super().__init__(simulator, horizon)
        self.pool = Tasks(*torch.empty(2, 0, simulator.state_dim))

    def draw(self, n: int, random: torch.Generator, expert: Trajectories) -> tuple[Tasks, Tensor]:
        order = torch.randperm(len(self.pool.start), generator=random)
        again, left = order[: n // 2], order[n // 2 :]
        new = self.simulator.sample_tasks(n - len(again), random)
        tasks = Tasks(*(torch.cat((failed[again], fresh)) for failed, fresh in zip(self.pool, new)))
        self.pool = Tasks(*(failed[left] for failed in self.pool))
        return tasks, torch.arange(n) >= len(again)

    def note(self, tasks: Tasks, success: Tensor) -> None:
        self.pool = Tasks(*(torch.cat((failed, states[~success])) for failed, states in zip(self.pool, tasks)))

    def state_dict(self) -> dict[str, Any]:
        return self.pool._asdict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.pool = Tasks(**state)


TASKS = {"random": RandomTasks, "dataset": DatasetTasks, "failures": FailedTasks}
"""By the name of the option."""
