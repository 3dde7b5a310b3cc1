import pytest
import torch

from gapclose.errors import UserError
from gapclose.planning.gradient import OPTIMIZERS
from gapclose.planning.initialization import Knots, Normal, Zeros
from gapclose.planning.objective import ActionSize, GoalDistance, Objective, Term
from tests.planning.conftest import (
    CAUTIOUS,
    EVERY_STEP,
    HIGH,
    LAST_STEP,
    LOW,
    make,
    objective_of,
    plan,
    random_plans,
    search_with,
    seeded,
    tasks,
)

PLAIN = dict(init=Zeros(), num_starts=1)
"""Settings with a single known start."""


def gradient(**changes):
    return make("gradient", **changes)


def fastest(start, goal, horizon):
    """The best plan for z' = z + a if every step counts: full speed to the goal in each coordinate, then rest."""
    actions, z = [], start
    for _ in range(horizon):
        actions.append((goal - z).clamp(LOW, HIGH))
        z = z + actions[-1]
    return torch.stack(actions, 1)


@pytest.mark.parametrize(
    "settings",
    [
        dict(PLAIN, optimizer="adam", lr=0.05),
        dict(PLAIN, optimizer="adamw", lr=0.05),
        dict(PLAIN, optimizer="sgd", lr=0.8),
        dict(PLAIN, optimizer="momentum", lr=0.1),
        dict(init=Knots(), num_starts=4, lr=0.05),
        dict(init=Normal(), num_starts=4, lr=0.05),
    ],
    ids=lambda s: s.get("optimizer", type(s["init"]).__name__),
)
def test_it_finds_the_known_optimum_where_the_landscape_is_convex(point_model, settings):
    best = fastest(*tasks(), horizon=5)
    made = plan(gradient(iterations=300, **settings), point_model(), EVERY_STEP)
    torch.testing.assert_close(made.cost, objective_of(point_model(), EVERY_STEP, best), atol=2e-3, rtol=0)
    torch.testing.assert_close(made.actions, best, atol=0.05, rtol=0)


def test_one_step_of_sgd_equals_the_one_computed_by_hand(point_model):
    start, goal = tasks()
    made = plan(gradient(**PLAIN, optimizer="sgd", lr=0.1, iterations=1), point_model(), LAST_STEP)
    # cost = mean((start + Σ half_range · a - goal)²), so its derivative by each normalised action is
    derivative = HIGH * (start - goal)
    torch.testing.assert_close(made.actions, (HIGH * -0.1 * derivative).unsqueeze(1).expand(-1, 5, -1))


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_the_first_step_of_adam_is_as_long_as_the_learning_rate(point_model, optimizer):
    made = plan(gradient(**PLAIN, optimizer=optimizer, lr=0.03, iterations=1), point_model(), LAST_STEP)
    torch.testing.assert_close((made.actions / HIGH).abs(), torch.full((4, 5, 2), 0.03), atol=1e-5, rtol=0)


def test_momentum_continues_in_the_last_direction(point_model):
    settings = dict(PLAIN, lr=0.01, iterations=2)
    made = plan(gradient(**settings, optimizer="momentum"), point_model(), LAST_STEP)
    start, goal = tasks()
    first = -0.01 * HIGH * (start - goal)
    second = -0.01 * HIGH * (start + 5 * HIGH * first - goal)
    expected = HIGH * (first + 0.9 * first + second)
    torch.testing.assert_close(made.actions, expected.unsqueeze(1).expand(-1, 5, -1))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("action_noise", [0.0, 0.5])
def test_actions_are_inside_the_bounds_and_cost_what_the_objective_says(ensemble, optimizer, action_noise):
    made = plan(gradient(optimizer=optimizer, action_noise=action_noise, lr=2.0), ensemble, CAUTIOUS)
    assert ((made.actions >= LOW) & (made.actions <= HIGH)).all()
    torch.testing.assert_close(made.cost, objective_of(ensemble, CAUTIOUS, made.actions))


def test_the_plan_is_the_best_iterate_not_the_last(point_model):
    made = plan(gradient(**PLAIN, action_noise=1.0, lr=1e-6, iterations=40), point_model(), LAST_STEP)
    assert (made.cost_per_iteration.diff() <= 0).all()
    best = fastest(*tasks(), horizon=7)
    kept = plan(gradient(num_starts=1, lr=1.0), point_model(), EVERY_STEP, warm_start=best.unsqueeze(1))
    torch.testing.assert_close(kept.actions, best, atol=1e-6, rtol=0)


def test_the_last_iterate_is_a_candidate_too(point_model):
    """It is the only one that is scored without a gradient."""
    resting = objective_of(point_model(), LAST_STEP, torch.zeros(4, 5, 2))
    made = plan(gradient(**PLAIN, iterations=1), point_model(), LAST_STEP)
    assert (made.cost < resting).all()
    torch.testing.assert_close(made.cost_per_iteration, torch.stack((resting.mean(), made.cost.mean())))


def test_the_action_noise_has_the_configured_size(point_model):
    search = search_with(point_model(), iterations=1)
    scored = []
    search.costs_and_gradients = lambda actions: (torch.zeros(actions.shape[:2]), torch.zeros_like(actions))
    search.score = lambda actions: scored.append(actions) or torch.zeros(actions.shape[:2])
    gradient(**PLAIN, optimizer="sgd", action_noise=0.2).descend(search, torch.zeros(4, 500, 5, 2))
    assert scored[0].std().item() == pytest.approx(0.2, rel=0.03)
    assert scored[0].mean().abs() < 0.005


def test_descent_starts_from_every_start(point_model):
    starts = random_plans(4, 3, 5)
    alone = [plan(gradient(num_starts=1), point_model(), LAST_STEP, warm_start=starts[:, [i]]).cost for i in range(3)]
    together = plan(gradient(num_starts=3), point_model(), LAST_STEP, warm_start=starts)
    torch.testing.assert_close(together.cost, torch.stack(alone).amin(0))


@pytest.mark.parametrize(
    "settings",
    [*(dict(PLAIN, optimizer=optimizer) for optimizer in OPTIMIZERS), dict(num_perturbations=4, perturbation=0.2)],
    ids=lambda s: s.get("optimizer", "perturbed"),
)
def test_planning_a_batch_equals_planning_each_task_alone(ensemble, settings):
    planner = gradient(**settings)
    start, goal = tasks()
    together = planner.plan(ensemble, CAUTIOUS, start, goal, generator=seeded())
    for i in range(4):
        alone = planner.plan(ensemble, CAUTIOUS, start[i : i + 1], goal[i : i + 1], generator=seeded())
        torch.testing.assert_close(together.actions[i], alone.actions[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(together.cost[i], alone.cost[0])


def test_calls_of_the_model_are_counted_forward_and_backward(ensemble):
    made = plan(gradient(num_starts=3, iterations=6), ensemble, CAUTIOUS)
    assert made.model_calls == (6 * 2 + 1) * 4 * 3 * 5


def test_changing_weights_change_the_descent(ensemble):
    """With one iteration, an initial share of one half equals half of the weight."""

    def first_step(**settings):
        objective = Objective(dict(goal=GoalDistance(), size=ActionSize(**settings)))
        warm_start = random_plans(4, 1, 5)
        planner = gradient(num_starts=1, optimizer="sgd", lr=0.01, iterations=1)
        return plan(planner, ensemble, objective, warm_start=warm_start).actions

    torch.testing.assert_close(first_step(weight=0.5), first_step(weight=1.0, initial_share=0.5))
    assert not torch.allclose(first_step(weight=1.0), first_step(weight=0.5), atol=1e-5)


class Ravine(Term):
    """Cost 0 at exactly half the upper bounds and 1 beside it; 0.5 in a region around half the lower bounds."""

    def forward(self, latents, actions, goal):
        place = (actions / HIGH).mean((1, 2))
        return 1 - torch.exp(-(((place - 0.5) / 0.002) ** 2)) - 0.5 * torch.exp(-(((place + 0.5) / 0.5) ** 2))


def test_perturbations_choose_the_start_with_the_most_robust_plan(point_model):
    objective = Objective(dict(goal=GoalDistance(weight=1e-6), ravine=Ravine()))
    starts = torch.stack((HIGH.expand(5, 2) / 2, -HIGH.expand(5, 2) / 2)).expand(4, 2, 5, 2)
    settings = dict(num_starts=2, lr=1e-6, iterations=2)
    steep = plan(gradient(**settings), point_model(), objective, warm_start=starts)
    torch.testing.assert_close(steep.actions, starts[:, 0], atol=1e-4, rtol=0)
    broad = plan(
        gradient(**settings, num_perturbations=16, perturbation=0.1), point_model(), objective, warm_start=starts
    )
    torch.testing.assert_close(broad.actions, starts[:, 1], atol=1e-4, rtol=0)
    torch.testing.assert_close(broad.cost, objective_of(point_model(), objective, broad.actions))
    assert broad.model_calls == steep.model_calls + 4 * 5 * 2 * 16


def test_with_perturbations_the_candidates_are_the_best_iterates_of_the_starts(point_model):
    starts = random_plans(4, 3, 5)
    settings = dict(lr=3.0, optimizer="sgd", iterations=6)
    alone = [
        plan(gradient(**settings, num_starts=1), point_model(), LAST_STEP, warm_start=starts[:, [i]]) for i in range(3)
    ]
    chosen = plan(
        gradient(**settings, num_starts=3, num_perturbations=8, perturbation=1e-6),
        point_model(),
        LAST_STEP,
        warm_start=starts,
    )
    torch.testing.assert_close(chosen.cost, torch.stack([one.cost for one in alone]).amin(0), atol=1e-5, rtol=0)


def test_perturbations_with_a_single_start_are_refused():
    with pytest.raises(UserError, match=r"planner\.num_perturbations is 8.*planner\.num_starts is 1"):
        gradient(num_starts=1, num_perturbations=8)
