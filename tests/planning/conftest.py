"""Shared by the tests of several planners: bounds, objectives, tasks, and one small planner of each kind."""

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from gapclose.models.world_model import WorldModel
from gapclose.planning.cem import CEMPlanner
from gapclose.planning.grad_cem import GradCEMPlanner
from gapclose.planning.gradient import GradientPlanner
from gapclose.planning.grasp import GRASPPlanner
from gapclose.planning.icem import ICEMPlanner
from gapclose.planning.initialization import Normal
from gapclose.planning.mppi import MPPIPlanner
from gapclose.planning.multistart import MultistartPlanner
from gapclose.planning.objective import Disagreement, GoalDistance, Objective
from gapclose.planning.planner import Plan, Planner
from gapclose.planning.predictive_sampling import PredictiveSamplingPlanner
from gapclose.planning.search import Bounds, Budget, Search
from tests.fixtures import small_ensemble

LOW, HIGH = torch.tensor([-0.5, -0.25]), torch.tensor([0.5, 0.25])
EVERY_STEP = Objective(dict(goal=GoalDistance("all")))
LAST_STEP = Objective(dict(goal=GoalDistance("last")))
CAUTIOUS = Objective(dict(goal=GoalDistance("last"), disagreement=Disagreement(3.0)))
ANNEALED = Objective(dict(goal=GoalDistance("last"), disagreement=Disagreement(300.0, initial_share=0.0)))

KINDS: dict[str, tuple[type[Planner], dict]] = dict(
    gradient=(GradientPlanner, dict(num_starts=2)),
    multistart=(MultistartPlanner, dict(num_samples=6, num_resamples=1, num_elites=3, num_starts=2)),
    cem=(CEMPlanner, dict(num_samples=8, num_elites=3)),
    icem=(ICEMPlanner, dict(num_samples=8, num_elites=4, kept_elites=0.5)),
    mppi=(MPPIPlanner, dict(num_samples=8)),
    grad_cem=(GradCEMPlanner, dict(num_samples=8, num_elites=3)),
    predictive_sampling=(PredictiveSamplingPlanner, dict(num_samples=8, num_knots=2)),
    grasp=(GRASPPlanner, dict(num_starts=2, lifted_steps=3, sync_steps=2)),
)


def make(kind: str, low: Tensor = LOW, high: Tensor = HIGH, **changes) -> Planner:
    """A small planner of this kind."""
    planner, settings = KINDS[kind]
    return planner(
        action_low=low, action_high=high, **dict(init=Normal(), horizon=5, iterations=4) | settings | changes
    )


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tasks(n: int = 4) -> tuple[Tensor, Tensor]:
    """Starts and goals `[N, 2]`, always the same."""
    random = seeded(9)
    return 2 * torch.rand(n, 2, generator=random) - 1, 2 * torch.rand(n, 2, generator=random) - 1


def plan(planner: Planner, world_model: WorldModel, objective: Objective, seed: int = 0, n: int = 4, **inputs) -> Plan:
    return planner.plan(world_model, objective, *tasks(n), generator=seeded(seed), **inputs)


def random_plans(*shape: int, seed: int = 0) -> Tensor:
    """Actions `[*shape, 2]` inside the bounds, in the simulator's units."""
    return HIGH * (2 * torch.rand(*shape, 2, generator=seeded(seed)) - 1)


def objective_of(world_model: WorldModel, objective: Objective, actions: Tensor) -> Tensor:
    """Costs of actions `[N, T, A]` in the simulator's units, computed without a planner."""
    start, goal = tasks(len(actions))
    with torch.no_grad():
        return objective.cost(
            world_model.rollout(world_model.encode(start), actions), actions, world_model.encode(goal)
        )


def assert_sound(made: Plan, world_model: WorldModel, objective: Objective, n: int = 4, steps: int = 5) -> None:
    """Asserts that a plan is inside the bounds and has the cost that it reports."""
    assert made.actions.shape == (n, steps, 2)
    assert made.elites.shape[::2] == (n, steps)
    assert torch.equal(made.elites[:, 0], made.actions)
    assert ((made.elites >= LOW) & (made.elites <= HIGH)).all()
    assert not made.elites.requires_grad
    assert not made.cost.requires_grad
    torch.testing.assert_close(made.cost, objective_of(world_model, objective, made.actions))
    torch.testing.assert_close(made.cost_per_iteration[-1], made.cost.mean())


def search_with(
    world_model: WorldModel,
    objective: Objective = LAST_STEP,
    n: int = 4,
    steps: int = 5,
    seed: int = 0,
    low: Tensor = LOW,
    high: Tensor = HIGH,
    remember: bool = False,
    **budget,
) -> Search:
    """A search that has not started."""
    start, goal = (world_model.encode(x) for x in tasks(n))
    budget = Budget(**dict(iterations=4) | budget)
    return Search(world_model, objective, start, goal, steps, Bounds(low, high), budget, seeded(seed), remember)


def scored(planner: Planner, search: Search, warm_start: Tensor | None = None) -> tuple[list[Tensor], Tensor | None]:
    """The candidates that a planner scores, call by call, and the result of its search."""
    candidates, score = [], search.score

    def spy(x: Tensor) -> Tensor:
        candidates.append(x)
        return score(x)

    search.score = spy
    return candidates, planner.search(search, warm_start)


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    """Each kind of planner."""
    return request.param


@pytest.fixture(scope="module")
def compiled(trajectories):
    """A compiled ensemble, and a counter of the graphs that are compiled for it after its first compilation."""
    torch._dynamo.reset()
    model, counter, original = small_ensemble(trajectories), CompileCounterWithBackend("eager"), torch.compile
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", lambda f, **settings: original(f, backend=counter, **settings))
        model.compile_step()
    assert counter.frame_count > 0
    counter.clear()
    yield model, counter
    torch._dynamo.reset()
