"""Measures a model: its error on held-out data, and success, distance and error of its plans when they are executed.

The train-test gap is the ratio of the two errors.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import torch

from gapclose.data.datamodule import split
from gapclose.data.trajectories import Trajectories, Window
from gapclose.envs.simulator import Simulator, Tasks
from gapclose.evaluation.statistics import wilson
from gapclose.models.world_model import LearnedWorldModel, WorldModel
from gapclose.planning.execution import Execution, error_quantiles, execute_open_loop
from gapclose.planning.gradient import GradientPlanner
from gapclose.planning.initialization import PolicyRollouts
from gapclose.planning.mpc import MPC
from gapclose.planning.objective import Objective
from gapclose.planning.planner import Planner
from gapclose.seeds import generator

WAYS = ("open_loop", "mpc")
"""The ways to execute plans: open loop, and model-predictive control (MPC)."""
METRICS = (
    "success_rate",
    "goal_distance",
    "imagined_goal_distance",
    "exploitation",
    "world_model_error",
    "world_model_error_median",
    "world_model_error_q90",
    "left_world_rate",
    "train_test_gap",
    "model_calls",
    "planning_seconds",
    "adaptation_seconds",
)
"""The metrics of `evaluate`."""


class HeldOut(NamedTuple):
    """Held-out tasks and data, which training never uses.

    Attributes:
        tasks: to plan.
        validation: trajectories for choices, such as the calibration of the objective.
        test: trajectories on which errors are reported.
    """

    tasks: Tasks
    validation: Trajectories
    test: Trajectories

    @classmethod
    def of(cls, tasks: Tasks, trajectories: Trajectories, device: torch.device) -> Self:
        """Takes the held-out part of trajectories, and moves it and the tasks to a device."""
        _, validation, test = split(trajectories)
        return cls(*(type(x)(*(tensor.to(device) for tensor in x)) for x in (tasks, validation, test)))


def evaluate(execution: Execution, simulator: Simulator, expert_error: float | None = None) -> dict[str, Any]:
    """Computes the metrics of one way to plan and execute.

    Args:
        execution: imagined and executed states.
        simulator: measures distances and success.
        expert_error: the model's error on held-out data, the reference for its error under planning.

    Returns:
        `num_tasks`, `success_rate` and its Wilson interval, mean final `goal_distance` and `imagined_goal_distance`,
        `exploitation` (the difference of these two), `world_model_error` (MSE over coordinates,
        executed steps and tasks; none if nothing was executed), median and 90 % quantile of the tasks' mean errors
        (`world_model_error_median` and `_q90`), `left_world_rate` (the share of tasks for which an imagined state is
        outside the simulator's world), `train_test_gap` (its ratio to `expert_error`; none if
        that is 0 or not given), `model_calls` (transitions predicted or differentiated while planning),
        `planning_seconds`, and how much of them was spent adapting the model, `adaptation_seconds`.
    """
    goal, final = execution.tasks.goal, execution.states[:, -1]
    success = simulator.success(final, goal)
    n, successes = len(success), int(success.sum())
    error = execution.squared_errors()[execution.executed].mean().item() if execution.executed.any() else None
    distance = simulator.distance(final, goal).mean().item()
    promised = simulator.distance(execution.promised, goal).mean().item()
    return {
        "num_tasks": n,
        "success_rate": successes / n,
        "success_rate_ci95": list(wilson(successes / n, n)),
        "goal_distance": distance,
        "imagined_goal_distance": promised,
        "exploitation": distance - promised,
        "world_model_error": error,
        **error_quantiles(execution.plan_errors()),
        "left_world_rate": execution.leaves_world(simulator).double().mean().item(),
        "train_test_gap": error / expert_error if expert_error and error is not None else None,
        "model_calls": execution.model_calls,
        "planning_seconds": execution.seconds,
        "adaptation_seconds": execution.adaptation_seconds,
    }


def measure_gap(
    world_model: WorldModel,
    mpc: MPC,
    simulator: Simulator,
    objective: Objective,
    held_out: HeldOut,
    seed: int,
    planner_name: str,
    ways: Sequence[str] = WAYS,
) -> tuple[dict[str, Any], dict[str, Execution]]:
    """Measures a model on held-out data and under planning, open loop and in MPC, on the same tasks.

    Args:
        world_model: the model.
        mpc: MPC and the planner in it; the same planner plans open loop.
        simulator: executes.
        objective: the cost of plans; it is calibrated for the model. If it has a disagreement term for an
            ensemble, open loop is also measured without that term. If the planner starts from a policy's rollouts,
            the policy alone is measured, too.
        held_out: tasks and trajectories.
        seed: of the plans; with equal seeds, models start from equal action sequences.
        planner_name: name of the planner in the results.
        ways: to execute, of `open_loop` and `mpc`; if MPC adapts the model, it is measured with and without adaptation.

    Returns:
        The metrics (`expert_error`, `disagreement_weight`, and one set from `evaluate` for each way to execute), and
        the executions.
    """
    error = world_model.one_step_error(Window(*held_out.test)).item()
    objective = objective.calibrated(world_model, held_out.validation.pieces(mpc.planner.horizon))
    tasks = held_out.tasks
    parts = {"planner": mpc.planner, "simulator": simulator, "world_model": world_model, "tasks": tasks}
    executions = {}
    if "open_loop" in ways:
        random = generator(seed, "open loop")
        executions["open_loop"] = execute_open_loop(**parts, objective=objective, generator=random)
        unrefined = policy_alone(mpc.planner)
        if unrefined:
            alone, random = parts | {"planner": unrefined}, generator(seed, "open loop")
            executions["open_loop_policy_alone"] = execute_open_loop(**alone, objective=objective, generator=random)
        if objective.weight("disagreement"):
            trusting, random = objective.without("disagreement"), generator(seed, "open loop")
            executions["open_loop_without_disagreement"] = execute_open_loop(
                **parts, objective=trusting, generator=random
            )
    if "mpc" in ways:
        executions |= execute_mpc(mpc, simulator, world_model, objective, tasks, seed)
    metrics = {
        way: {"planner": planner_name, **evaluate(execution, simulator, error)} for way, execution in executions.items()
    }
    return {"expert_error": error, "disagreement_weight": objective.weight("disagreement"), **metrics}, executions


def execute_mpc(
    mpc: MPC, simulator: Simulator, world_model: WorldModel, objective: Objective, tasks: Tasks, seed: int
) -> dict[str, Execution]:
    """Executes MPC with the model as it is and, if the MPC adapts models and the model is learned, with adaptation."""
    adapting = {"mpc": False, "mpc_adapted": True}
    if mpc.adaptation is None or not isinstance(world_model, LearnedWorldModel):
        del adapting["mpc_adapted"]
    return {
        way: mpc.execute(simulator, world_model, objective, tasks, generator(seed, "mpc"), adapt)
        for way, adapt in adapting.items()
    }


def policy_alone(planner: Planner) -> Planner | None:
    """A planner that executes the policy that the given one starts from, unrefined; none if it starts otherwise."""
    if not isinstance(planner.init, PolicyRollouts):
        return None
    return GradientPlanner(
        action_low=planner.bounds.low,
        action_high=planner.bounds.high,
        init=planner.init,
        horizon=planner.horizon,
        iterations=0,
    )
