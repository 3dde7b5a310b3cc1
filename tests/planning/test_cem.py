import pytest
import torch
from pydantic import ValidationError

from gapclose.envs.wall import Wall
from gapclose.errors import UserError
from gapclose.models.oracle import OracleWorldModel
from gapclose.planning.cem import CEMPlanner
from gapclose.planning.objective import Disagreement, GoalDistance, Objective

LOW, HIGH = torch.tensor([-0.5, -0.25]), torch.tensor([0.5, 0.25])
EVERY_STEP = Objective(dict(goal=GoalDistance("all")))
LAST_STEP = Objective(dict(goal=GoalDistance("last")))
CAUTIOUS = Objective(dict(goal=GoalDistance("last"), disagreement=Disagreement(3.0)))
SMALL = dict(horizon=5, num_samples=16, num_elites=4, iterations=6)


def planner(**changes):
    return CEMPlanner(LOW, HIGH, **SMALL | changes)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def tasks(n=4):
    random = seeded(9)
    return 2 * torch.rand(n, 2, generator=random) - 1, 2 * torch.rand(n, 2, generator=random) - 1


def plan(world_model, objective, seed=0, n=4, warm_start=None, **changes):
    return planner(**changes).plan(world_model, objective, *tasks(n), warm_start, seeded(seed))


def objective_of(world_model, objective, actions):
    start, goal = tasks(len(actions))
    with torch.no_grad():
        return objective.cost(
            world_model.rollout(world_model.encode(start), actions), actions, world_model.encode(goal)
        )


def test_it_reaches_the_goal_where_the_dynamics_are_linear(point_model):
    start = torch.zeros(2, 2)
    goal = torch.tensor([[1.5, -0.75], [-0.4, 0.6]])
    made = planner(num_samples=200, num_elites=20, iterations=25).plan(
        point_model(), LAST_STEP, start, goal, generator=seeded()
    )
    torch.testing.assert_close(made.actions.sum(1), goal, atol=0.02, rtol=0)
    assert made.cost.max() < 2e-4


def test_it_finds_the_known_optimum_where_the_goal_is_out_of_reach(point_model):
    start, goal = torch.zeros(1, 2), torch.tensor([[30.0, -30.0]])
    made = planner(num_samples=200, num_elites=20, iterations=25).plan(
        point_model(), EVERY_STEP, start, goal, generator=seeded()
    )
    torch.testing.assert_close(made.actions, torch.tensor([0.5, -0.25]).expand(1, 5, 2), atol=0.01, rtol=0)


def test_one_iteration_returns_the_best_of_the_samples_and_the_mean(point_model):
    noise = torch.randn(4, 16, 5, 2, generator=seeded())
    candidates = HIGH * torch.cat((torch.zeros(4, 1, 5, 2), noise.clamp(-1, 1)), 1)
    costs = torch.stack([objective_of(point_model(), LAST_STEP, c) for c in candidates.unbind(1)], 1)
    made = plan(point_model(), LAST_STEP, iterations=1)
    torch.testing.assert_close(made.cost, costs.amin(1))
    torch.testing.assert_close(made.actions, candidates[torch.arange(4), costs.argmin(1)])


def test_the_next_samples_are_drawn_around_the_elites(point_model):
    """With one elite the Gaussian has no width left, so the plan is the best of the first samples."""
    one, two = (plan(point_model(), LAST_STEP, num_elites=1, iterations=i) for i in (1, 2))
    torch.testing.assert_close(two.actions, one.actions)
    assert plan(point_model(), LAST_STEP, iterations=12).cost.mean() < one.cost.mean()


def test_a_small_initial_spread_keeps_samples_near_where_the_search_starts(point_model):
    warm_start = torch.full((4, 5, 2), 0.1)
    made = plan(point_model(), LAST_STEP, warm_start=warm_start, init_std=1e-3, iterations=1)
    assert 0 < (made.actions - warm_start).abs().max() < 0.01


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("init_std", [0.1, 5.0])
def test_actions_are_inside_the_bounds_and_cost_what_the_objective_says(ensemble, warm, init_std):
    warm_start = 2 * torch.randn(4, 3, 2, generator=seeded()) if warm else None
    made = plan(ensemble, CAUTIOUS, warm_start=warm_start, init_std=init_std)
    assert made.actions.shape == (4, 3 if warm else 5, 2)
    assert (made.actions >= LOW).all()
    assert (made.actions <= HIGH).all()
    torch.testing.assert_close(made.cost, objective_of(ensemble, CAUTIOUS, made.actions))


def test_the_cost_per_iteration_never_increases():
    wall = Wall()
    start, goal = wall.sample_tasks(5, seeded())
    made = CEMPlanner(wall.action_low, wall.action_high, horizon=20, num_samples=20, num_elites=5, iterations=10).plan(
        OracleWorldModel(wall), LAST_STEP, start, goal, generator=seeded()
    )
    assert made.cost_per_iteration.shape == (10,)
    assert (made.cost_per_iteration.diff() <= 0).all()
    assert made.cost_per_iteration[-1] < made.cost_per_iteration[0]
    torch.testing.assert_close(made.cost_per_iteration[-1], made.cost.mean())


@pytest.mark.parametrize("steps", [1, 3, 9])
def test_a_warm_start_decides_the_length_and_is_never_worsened(ensemble, steps):
    warm_start = HIGH * (2 * torch.rand(4, steps, 2, generator=seeded()) - 1)
    made = plan(ensemble, CAUTIOUS, warm_start=warm_start, init_std=3.0, iterations=2)
    assert made.actions.shape == (4, steps, 2)
    assert (made.cost <= objective_of(ensemble, CAUTIOUS, warm_start) + 1e-5).all()


def test_the_optimum_as_a_warm_start_is_kept(point_model):
    start, goal = tasks()
    best = ((goal - start) / 9).unsqueeze(1).expand(-1, 9, -1)
    made = plan(point_model(), LAST_STEP, warm_start=best)
    assert made.cost.max() < 1e-8


def test_the_generator_alone_decides_the_plan(ensemble):
    made = plan(ensemble, CAUTIOUS, seed=1)
    torch.rand(3)
    assert torch.equal(made.actions, plan(ensemble, CAUTIOUS, seed=1).actions)
    assert not torch.equal(made.actions, plan(ensemble, CAUTIOUS, seed=2).actions)


def test_every_task_of_a_batch_gets_a_plan_of_its_own(point_model):
    start = torch.zeros(3, 2)
    goal = torch.tensor([[1.0, 0.5], [-1.0, 0.0], [0.0, -0.5]])
    made = planner(num_samples=200, num_elites=20, iterations=20).plan(
        point_model(), LAST_STEP, start, goal, generator=seeded()
    )
    torch.testing.assert_close(made.actions.sum(1), goal, atol=0.05, rtol=0)


def test_the_world_model_is_left_as_it_was(ensemble):
    ensemble.train()
    plan(ensemble, CAUTIOUS)
    assert all(p.grad is None and p.requires_grad for p in ensemble.parameters())
    assert all(module.training for module in ensemble.modules())


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
def test_it_plans_for_no_tasks_at_all(ensemble):
    assert plan(ensemble, CAUTIOUS, n=0).actions.shape == (0, 5, 2)


def test_more_elites_than_samples_are_refused_by_name():
    with pytest.raises(UserError, match=r"planner\.num_elites is 17.*planner\.num_samples = 16"):
        planner(num_elites=17)


@pytest.mark.parametrize(
    "wrong",
    [
        dict(horizon=0),
        dict(num_samples=0),
        dict(num_elites=0),
        dict(iterations=0),
        dict(init_std=0.0),
        dict(init_std=-1),
    ],
    ids=str,
)
def test_impossible_settings_are_refused_by_name(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        planner(**wrong)
