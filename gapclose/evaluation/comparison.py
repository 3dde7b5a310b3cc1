"""Compares planners in one run: on the same tasks, with the same model."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gapclose.data.trajectories import Window
from gapclose.envs.simulator import Simulator, Tasks
from gapclose.evaluation.gap import WAYS, HeldOut, evaluate, execute_mpc, policy_alone
from gapclose.models.world_model import WorldModel
from gapclose.planning.execution import Execution, execute_open_loop, execute_plan
from gapclose.planning.mpc import MPC
from gapclose.planning.objective import Objective
from gapclose.planning.planner import Plan
from gapclose.seeds import generator


def compare(
    world_model: WorldModel,
    planners: Mapping[str, MPC],
    simulator: Simulator,
    objective: Objective,
    held_out: HeldOut,
    seed: int,
    ways: tuple[str, ...] = WAYS,
) -> tuple[dict[str, Any], dict[str, dict[str, Execution]]]:
    """Measures several planners with one model on the same tasks.

    Args:
        world_model: the model that all of them plan with.
        planners: MPC with its planner, by name.
        simulator: executes.
        objective: the cost of plans; it is calibrated for the model and the longest planning horizon.
        held_out: tasks and trajectories.
        seed: of the plans.
        ways: to execute, of `open_loop` and `mpc`.

    Returns:
        `expert_error`, `disagreement_weight` and, by planner, one set of metrics for each way to execute. Open loop
        also has `budget`: the success rate if the search had ended after each of its iterations. The second value has
        the executions, by planner and way.
    """
    tasks = held_out.tasks
    error = world_model.one_step_error(Window(*held_out.test)).item()
    longest = max(mpc.planner.horizon for mpc in planners.values())
    objective = objective.calibrated(world_model, held_out.validation.pieces(longest))
    start, goal = simulator.observe(tasks.start), simulator.observe(tasks.goal)
    # The first search also does work that a process does once, so two tasks are planned before time is measured.
    for mpc in planners.values():
        mpc.planner.plan(world_model, objective, start[:2], goal[:2], generator=generator(seed))
    metrics, executions = {}, {}
    for name, mpc in planners.items():
        metrics[name], executions[name] = {}, {}
        if "open_loop" in ways:
            random = generator(seed, "open loop")
            plan = mpc.planner.plan(world_model, objective, start, goal, generator=random, remember=True)
            execution = execute_plan(plan, simulator, world_model, tasks)
            budget = success_by_budget(plan, simulator, tasks)
            executions[name]["open_loop"] = execution
            metrics[name]["open_loop"] = {"planner": name, **evaluate(execution, simulator, error), "budget": budget}
            unrefined, random = policy_alone(mpc.planner), generator(seed, "open loop")
            if unrefined:
                alone = execute_open_loop(unrefined, simulator, world_model, objective, tasks, random)
                metrics[name]["open_loop_policy_alone"] = {"planner": name, **evaluate(alone, simulator, error)}
        if "mpc" in ways:
            for way, execution in execute_mpc(mpc, simulator, world_model, objective, tasks, seed).items():
                executions[name][way] = execution
                metrics[name][way] = {"planner": name, **evaluate(execution, simulator, error)}
    weight = objective.weight("disagreement")
    return {"expert_error": error, "disagreement_weight": weight, "planners": metrics}, executions


@torch.no_grad()
def success_by_budget(plan: Plan, simulator: Simulator, tasks: Tasks) -> dict[str, list[float]]:
    """The success rate of the best plans after each iteration of the search: `seconds` and `success_rate`.

    This equals the success if the search had ended there, unless the planner selects among its plans at the end.
    """

    def success(actions: Tensor) -> float:
        return simulator.success(simulator.rollout(tasks.start, actions)[:, -1], tasks.goal).float().mean().item()

    rates = [success(actions) for actions in plan.actions_per_iteration]
    return {"seconds": plan.seconds_per_iteration.tolist(), "success_rate": rates}
