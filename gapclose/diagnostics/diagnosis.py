"""Why is a model reliable under planning, or not? Runs all diagnostics for several models on the same tasks."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from pydantic import ConfigDict, PositiveInt, validate_call
from torch import Tensor

from gapclose.data.trajectories import Trajectories
from gapclose.diagnostics.action_sequences import (
    Landscape,
    Path,
    descend,
    initial_sequences,
    path_with_gradients,
    subsample,
    uniform_sequences,
)
from gapclose.diagnostics.attack_strength import AttackStrength
from gapclose.diagnostics.disagreement import disagreement_metrics
from gapclose.diagnostics.error_maps import ErrorMaps, Grid, Step, along_plans, error_metrics, single_steps
from gapclose.diagnostics.gradient_agreement import gradient_agreement
from gapclose.diagnostics.landscape import Roughness, Slice, slices, variation_along
from gapclose.envs.simulator import Simulator, Tasks
from gapclose.errors import UserError
from gapclose.evaluation.gap import evaluate
from gapclose.evaluation.statistics import estimate
from gapclose.models.oracle import TrueDynamics
from gapclose.models.world_model import LearnedWorldModel, WorldModel
from gapclose.planning.execution import Execution, execute_open_loop
from gapclose.planning.gradient import GradientPlanner
from gapclose.planning.objective import Objective
from gapclose.planning.planner import Planner
from gapclose.planning.search import Budget
from gapclose.progress import progress_bar
from gapclose.seeds import generator

ORACLE = "oracle"
PARTS = 5
"""Number of parts of the examination of a model, for the progress bar."""


class Subject(NamedTuple):
    """A model to diagnose.

    Attributes:
        world_model: the model.
        objective: the cost of its plans.
        training_states: the states that it was trained on, `[L, S]`.
        test: held-out trajectories of its own data.
    """

    world_model: LearnedWorldModel
    objective: Objective
    training_states: Tensor
    test: Trajectories


class Finding(NamedTuple):
    """The data for the pictures of one model.

    Attributes:
        execution: its plans, executed open loop.
        arena: errors over the arena, `[G, G]`; none if the state is not a position, and for the true dynamics.
        plans: errors along the plans; empty for the true dynamics.
        visited: number of training states in each cell, `[G, G]`; none where `arena` is.
    """

    execution: Execution
    arena: Step | None = None
    plans: Mapping[str, Step] = {}
    visited: Tensor | None = None


class Diagnostics:
    """Runs all diagnostics.

    Args:
        attack: measures the loss under attack.
        roughness: measures how fast gradients change.
        error_maps: measures errors of single steps.
        planner: makes the plans.
        descent: the gradient descent whose paths are examined, from one start per task.
        samples: random sequences, initial sequences and points of the descent per task at which gradients are compared.
        slice_points: points of the grid along each axis of a slice through the cost.
        slice_tasks: number of tasks, the first ones, that have slices.

    Raises:
        UserError: the descent is not limited by a number of iterations alone.
    """

    @validate_call(config=ConfigDict(arbitrary_types_allowed=True))
    def __init__(
        self,
        attack: AttackStrength,
        roughness: Roughness,
        error_maps: ErrorMaps,
        planner: Planner,
        descent: GradientPlanner,
        samples: PositiveInt = 4,
        slice_points: PositiveInt = 41,
        slice_tasks: PositiveInt = 3,
    ) -> None:
        if descent.budget != Budget(descent.budget.iterations) or not descent.budget.iterations:
            raise UserError(
                "The descents of all models must have the same number of iterations, at least one; give a positive "
                "number as descent.iterations, and no other limit."
            )
        self.attack, self.roughness, self.error_maps = attack, roughness, error_maps
        self.planner, self.descent, self.samples = planner, descent, samples
        self.slice_points, self.slice_tasks = slice_points, slice_tasks

    def run(
        self, subjects: Mapping[str, Subject], simulator: Simulator, tasks: Tasks, seed: int
    ) -> tuple[dict[str, Any], dict[str, Finding], Slice]:
        """Runs all diagnostics of models, and of the true dynamics in the latents of the first one.

        Diagnostics that need gradients of the simulator are left out if it is not differentiable.

        Args:
            subjects: the models by name; their parameters are frozen.
            simulator: the true dynamics.
            tasks: starts and goals.
            seed: of all random numbers.

        Returns:
            The metrics and the data for pictures, by model, and slices through the costs of all models.
        """
        metrics, findings = {}, {}
        first = next(iter(subjects.values()))
        goal_alone = first.objective.goal_alone()
        models: dict[str, tuple[WorldModel, Objective]] = {name: subject[:2] for name, subject in subjects.items()}
        with progress_bar(PARTS * len(subjects) + 2, "diagnosing", "part") as bar:
            for name, subject in subjects.items():
                subject.world_model.requires_grad_(False).eval()
                metrics[name], findings[name] = self.examine(subject, simulator, tasks, seed, bar.update)
            truth = TrueDynamics(simulator, first.world_model)
            if self.planner.can_plan_with(truth):
                execution = self.execute(truth, goal_alone, simulator, tasks, seed)
                metrics[ORACLE] = {"open_loop": evaluate(execution, simulator)}
                findings[ORACLE] = Finding(execution)
            if simulator.differentiable:
                landscape = Landscape(truth, goal_alone, simulator, tasks, self.planner.horizon)
                smoothness = self.smoothness(landscape, *self.sequences(landscape, execution, seed), seed)
                metrics[ORACLE]["landscape"] = {"goal": smoothness}
                models[ORACLE] = truth, goal_alone
            bar.update()
            cost_slice = self.slice_costs(models, simulator, tasks, seed)
            bar.update()
        return metrics, findings, cost_slice

    def examine(
        self, subject: Subject, simulator: Simulator, tasks: Tasks, seed: int, advance: Callable[[], Any]
    ) -> tuple[dict[str, Any], Finding]:
        """Runs all diagnostics of one model; `advance` is called after each."""
        world_model, objective, training_states, test = subject
        expert = single_steps(world_model, simulator, test.states[:, :-1], test.actions)
        expert_error = estimate(expert.error.mean(1))
        execution = self.execute(world_model, objective, simulator, tasks, seed)
        metrics: dict[str, Any] = {"open_loop": evaluate(execution, simulator, expert_error["mean"])}
        advance()
        metrics["attack"] = self.attack.measure(world_model, simulator, test, seed)
        advance()
        metrics["landscape"], gradients = {}, {}
        truth = TrueDynamics(simulator, world_model)
        true_landscape = Landscape(truth, objective.goal_alone(), simulator, tasks, self.planner.horizon)
        for name, cost in costs_of(objective).items():
            landscape = true_landscape._replace(world_model=world_model, objective=cost)
            sequences, path = self.sequences(landscape, execution, seed)
            metrics["landscape"][name] = self.smoothness(landscape, sequences, path, seed)
            if simulator.differentiable:
                gradients[name] = {
                    kind: gradient_agreement(landscape.search(), true_landscape.search(), actions)
                    for kind, actions in sequences.items()
                }
        if gradients:
            metrics["gradients"] = gradients
        advance()
        grid, device = Grid.over(simulator, self.error_maps.cells), tasks.start.device
        random = generator(seed, "map")
        arena = self.error_maps.over_arena(world_model, simulator, grid, device, random) if grid else None
        plans = along_plans(world_model, simulator, execution)
        errors = error_metrics(arena, plans, execution, simulator, grid, training_states)
        metrics["errors"] = {"expert": expert_error, **errors}
        advance()
        if world_model.members > 1:
            metrics["disagreement"] = disagreement_metrics(world_model, arena, plans, execution)
        advance()
        # Add a new diagnostic here, with `advance()` after it.
        return metrics, Finding(execution, arena, plans, grid and grid.counts(training_states))

    def execute(
        self, world_model: WorldModel, objective: Objective, simulator: Simulator, tasks: Tasks, seed: int
    ) -> Execution:
        """Plans and executes open loop, with the same random numbers for all models and as in plan.py."""
        return execute_open_loop(self.planner, simulator, world_model, objective, tasks, generator(seed, "open loop"))

    def sequences(self, landscape: Landscape, execution: Execution, seed: int) -> tuple[dict[str, Tensor], Path]:
        """The sequences at which gradients are examined, `[N, K, T, A]` by kind, and the path of the descent.

        The random and the initial sequences are the same for all models.
        """
        search = landscape.search(random=generator(seed, "initial sequences"))
        initial = initial_sequences(search, self.descent.init, self.samples)
        path = path_with_gradients(
            landscape, descend(self.descent, landscape, initial[:, 0], generator(seed, "descent"))
        )
        sequences = {
            "random": uniform_sequences(search, self.samples, generator(seed, "random sequences")),
            "initial": initial,
            "descent": subsample(path, self.samples),
            "plan": search.bounds.normalize(execution.actions).unsqueeze(1),
        }
        return sequences, path

    def smoothness(self, landscape: Landscape, sequences: dict[str, Tensor], path: Path, seed: int) -> dict[str, Any]:
        """Measures how fast the gradient changes around `initial` sequences and the `plan`, and along the `descent`."""
        search = landscape.search()
        metrics: dict[str, Any] = {
            name: self.roughness.measure(search, sequences[name], generator(seed, "roughness", name))
            for name in ("initial", "plan")
        }
        return metrics | {"descent": estimate(variation_along(path))}

    def slice_costs(
        self, models: dict[str, tuple[WorldModel, Objective]], simulator: Simulator, tasks: Tasks, seed: int
    ) -> Slice:
        """Computes slices through the goal term of the cost, which all models share, for the first tasks."""
        tasks = Tasks(*(states[: self.slice_tasks] for states in tasks))
        landscapes = {
            name: Landscape(world_model, objective.goal_alone(), simulator, tasks, self.planner.horizon)
            for name, (world_model, objective) in models.items()
        }
        paths = {}
        for name, landscape in landscapes.items():
            search = landscape.search(random=generator(seed, "initial sequences"))
            start = initial_sequences(search, self.descent.init, self.samples)[:, 0]
            paths[name] = descend(self.descent, landscape, start, generator(seed, "descent"))
        return slices({name: x.search() for name, x in landscapes.items()}, paths, self.slice_points)


def costs_of(objective: Objective) -> dict[str, Objective]:
    """The `goal` term alone, and the whole `objective` if it has more terms."""
    goal_alone = objective.goal_alone()
    has_more_terms = any(term.weight > 0 for name, term in objective.terms.items() if name not in goal_alone.terms)
    return {"goal": goal_alone, **({"objective": objective} if has_more_terms else {})}
