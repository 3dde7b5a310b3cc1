"""Computes the maps of a run's report (maps.npz): one-step errors over the arena, and slices of the planning cost.

They are drawn in `gapclose.report.figures`.
"""

from collections.abc import Mapping

import torch
from numpy.typing import NDArray

from gapclose.diagnostics.action_sequences import Landscape
from gapclose.diagnostics.error_maps import ErrorMaps, Grid
from gapclose.diagnostics.landscape import slices
from gapclose.envs.simulator import Simulator, Tasks
from gapclose.models.oracle import OracleWorldModel, TrueDynamics
from gapclose.models.world_model import WorldModel
from gapclose.planning.execution import Execution
from gapclose.planning.objective import Objective
from gapclose.planning.search import Bounds
from gapclose.report.record import Plans, World, example_task, stored
from gapclose.seeds import generator

POINTS = 41
"""Points of a slice through the cost along each axis."""


def make_maps(
    models: Mapping[str, WorldModel],
    executions: Mapping[str, Mapping[str, Execution]],
    simulator: Simulator,
    objective: Objective,
    seed: int,
) -> dict[str, NDArray]:
    """Computes maps of the models' errors and of the planning cost, as arrays by name.

    Args:
        models: by name, on one device.
        executions: of their plans, by model and way.
        simulator: the true dynamics.
        objective: its goal term is the cost.
        seed: of the actions from each cell of the error maps.

    Returns:
        For each learned model `errors/MODEL`; see `error_maps`. For each model with open-loop plans `cost/MODEL`; see
        `cost_slice`. Empty for simulators that are not differentiable: their engines would need minutes.
    """
    learned = {name: model for name, model in models.items() if not isinstance(model, OracleWorldModel)}
    if not learned or not simulator.differentiable:
        return {}
    device = next(iter(next(iter(executions.values())).values())).states.device
    arrays = error_maps(learned, simulator, device, seed)
    open_loop = {name: ways["open_loop"] for name, ways in executions.items() if "open_loop" in ways}
    if learned.keys() & open_loop.keys():
        arrays |= cost_slice(models, open_loop, simulator, objective.goal_alone())
    return arrays


def error_maps(
    models: Mapping[str, WorldModel], simulator: Simulator, device: torch.device, seed: int
) -> dict[str, NDArray]:
    """One-step errors `errors/MODEL` `[G, G]` over the arena, and the cells' `errors/edges` `[2, G+1]`.

    Empty for a simulator whose state is not a position in the plane.
    """
    maps = ErrorMaps()
    grid = Grid.over(simulator, maps.cells)
    if not grid:
        return {}
    arrays = {"errors/edges": stored(grid.edges)}
    for name, model in models.items():
        step = maps.over_arena(model, simulator, grid, device, generator(seed, "map"))
        arrays[f"errors/{name}"] = stored(step.error)
    return arrays


@torch.no_grad()
def cost_slice(
    models: Mapping[str, WorldModel],
    open_loop: Mapping[str, Execution],
    simulator: Simulator,
    objective: Objective,
) -> dict[str, NDArray]:
    """Computes the cost of one task's action sequences over the plane through the models' plans for it.

    A plane needs three points: with fewer plans, the sequence of zero actions is added.

    Returns:
        `cost/task`, its number; `cost/ticks` `[2, P]`; for each model `cost/MODEL` `[P, P]` and, of its plan in the
        plane, `cost/MODEL/plan` `[2]`.
    """
    shown = {name: {"open_loop": Plans.of(plans, simulator)} for name, plans in open_loop.items()}
    task = example_task(World.of(next(iter(open_loop.values())), simulator), shown)
    tasks = Tasks(*(states[task : task + 1] for states in next(iter(open_loop.values())).tasks))
    bounds = Bounds(*(bound.to(tasks.start) for bound in (simulator.action_low, simulator.action_high)))
    plans = {name: bounds.normalize(plan.actions[task]).unsqueeze(0)[None] for name, plan in open_loop.items()}
    points = dict(plans)
    if len(plans) < 3:
        points["rest"] = torch.zeros_like(next(iter(plans.values())))
    encoder = next(model for model in models.values() if not isinstance(model, OracleWorldModel))
    searches = {}
    for name, model in models.items():
        model = TrueDynamics(simulator, encoder) if isinstance(model, OracleWorldModel) else model
        steps = next(iter(plans.values())).shape[2]
        searches[name] = Landscape(model, objective, simulator, tasks, steps).search()
    cut = slices(searches, points, POINTS)
    arrays = {"cost/task": torch.tensor(task).numpy(), "cost/ticks": stored(cut.ticks[0])}
    for name in plans:
        arrays[f"cost/{name}"] = stored(cut.costs[name][0])
        arrays[f"cost/{name}/plan"] = stored(cut.paths[name][0, 0])
    return arrays
