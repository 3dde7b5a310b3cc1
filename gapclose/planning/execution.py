"""Execution of plans in the simulator, and what the world model imagined. Closed-loop execution is in `mpc`."""

from typing import NamedTuple

import torch
from torch import Tensor

from gapclose.envs.simulator import Simulator, Tasks
from gapclose.models.world_model import WorldModel
from gapclose.planning.objective import Objective
from gapclose.planning.planner import Plan, Planner


class Execution(NamedTuple):
    """The executed and the imagined trajectories of `N` tasks over `L` steps.

    Attributes:
        tasks: starts and goals.
        actions: executed actions `[N, L, A]`.
        states: simulated states `[N, L+1, S]`; a task that has ended keeps its last state.
        imagined: predicted states `[N, L+1, S]`, each predicted from the real state at which its plan was made.
        executed: whether a step was executed, `bool [N, L]`; a task that has reached its goal executes no more steps.
        promised: predicted final state `[N, S]` of the last plan.
        seconds: time spent on planning and on adapting the model.
        model_calls: transitions predicted or differentiated by the world model during planning, over all tasks.
        adaptation_seconds: the part of `seconds` spent on adapting the model.
    """

    tasks: Tasks
    actions: Tensor
    states: Tensor
    imagined: Tensor
    executed: Tensor
    promised: Tensor
    seconds: float
    model_calls: int
    adaptation_seconds: float = 0.0

    def squared_errors(self) -> Tensor:
        """Squared errors `[N, L]` of the imagined states, averaged over coordinates; NaN where nothing was executed."""
        squared = (self.imagined - self.states)[:, 1:].square().mean(-1)
        return torch.where(self.executed, squared, torch.nan)

    def plan_errors(self) -> Tensor:
        """Mean of `squared_errors` over the executed steps of each task, `[N]`; NaN where nothing was executed."""
        return self.squared_errors().nanmean(1)

    def leaves_world(self, simulator: Simulator) -> Tensor:
        """Whether a state imagined for an executed step is outside the simulator's world, bool `[N]`."""
        return (simulator.outside(self.imagined[:, 1:]) & self.executed).any(1)


def error_quantiles(errors: Tensor) -> dict[str, float | None]:
    """Median and 90 % quantile of errors `[N]` of plans: where the mean is that of a few, these are not.

    NaN are left out; without any other value the quantiles are `None`.
    """
    known = errors[~errors.isnan()].double()
    return {
        # Between an infinite value and another one it is NaN.
        f"world_model_error_{name}": known.quantile(share).nan_to_num(torch.inf, torch.inf).item()
        if len(known)
        else None
        for name, share in (("median", 0.5), ("q90", 0.9))
    }


def execute_open_loop(
    planner: Planner,
    simulator: Simulator,
    world_model: WorldModel,
    objective: Objective,
    tasks: Tasks,
    generator: torch.Generator | None = None,
) -> Execution:
    """Plans once, and executes the whole plan without feedback; it does not stop at the goal."""
    start, goal = simulator.observe(tasks.start), simulator.observe(tasks.goal)
    plan = planner.plan(world_model, objective, start, goal, generator=generator)
    return execute_plan(plan, simulator, world_model, tasks)


@torch.no_grad()
def execute_plan(plan: Plan, simulator: Simulator, world_model: WorldModel, tasks: Tasks) -> Execution:
    """Executes the whole plan without feedback, for the tasks that it was made for."""
    imagined = world_model.decode(world_model.rollout(world_model.encode(simulator.observe(tasks.start)), plan.actions))
    states = simulator.rollout(tasks.start, plan.actions)
    executed = torch.ones_like(plan.actions[..., 0], dtype=torch.bool)
    return Execution(tasks, plan.actions, states, imagined, executed, imagined[:, -1], plan.seconds, plan.model_calls)
