"""What every search begins with, a warm start above all, and what it recommends for the next."""

import pytest
import torch

from gapclose.planning.initialization import Normal, Zeros
from gapclose.planning.planner import Planner
from tests.planning.conftest import (
    CAUTIOUS,
    HIGH,
    LAST_STEP,
    LOW,
    assert_sound,
    make,
    objective_of,
    plan,
    random_plans,
    search_with,
    tasks,
)


@pytest.mark.parametrize("steps", [1, 3, 9])
@pytest.mark.parametrize("sequences", [1, 2, 5, 20])
def test_the_length_of_a_plan_is_that_of_the_warm_start(ensemble, kind, steps, sequences):
    warm_start = random_plans(4, sequences, steps)
    before = warm_start.clone()
    made = plan(make(kind), ensemble, CAUTIOUS, warm_start=warm_start)
    assert_sound(made, ensemble, CAUTIOUS, steps=steps)
    assert torch.equal(warm_start, before)


@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_the_best_of_a_warm_start_is_never_worsened(ensemble, kind, iterations):
    warm_start = random_plans(4, 2, 6)
    large = dict(lr=3.0) if kind in ("gradient", "multistart", "grad_cem") else {}
    made = plan(make(kind, iterations=iterations, **large), ensemble, CAUTIOUS, warm_start=warm_start)
    assert (made.cost <= objective_of(ensemble, CAUTIOUS, warm_start[:, 0]) + 1e-5).all()


@pytest.mark.parametrize("kind", ["gradient", "multistart", "icem"])
def test_the_second_sequence_of_a_warm_start_is_tried_too(point_model, kind):
    start, goal = tasks()
    best = ((goal - start) / 9).unsqueeze(1).expand(-1, 9, -1)
    made = plan(make(kind), point_model(), LAST_STEP, warm_start=torch.stack((random_plans(4, 9), best), 1))
    torch.testing.assert_close(made.actions, best)


def test_a_warm_start_outside_the_bounds_is_clipped_to_them(ensemble, kind):
    single = dict(num_starts=1) if kind in ("gradient", "grasp") else {}
    made = plan(make(kind, iterations=0, **single), ensemble, CAUTIOUS, warm_start=torch.full((4, 1, 5, 2), 7.0))
    assert_sound(made, ensemble, CAUTIOUS)
    if kind != "multistart":
        torch.testing.assert_close(made.actions, HIGH.expand(4, 5, 2))


def test_by_default_a_search_starts_from_the_middle_of_the_bounds(point_model, kind):
    made = plan(make(kind, init=None, iterations=0), point_model(), LAST_STEP)
    if kind != "multistart":
        assert torch.equal(made.actions, torch.zeros(4, 5, 2))


class Beginner(Planner):
    """Scores its first three sequences, and records them and its warm start."""

    def __init__(self, init, low=LOW, high=HIGH):
        super().__init__(low, high, init, horizon=5)

    def search(self, search, warm_start):
        self.warm_start, self.first = warm_start, self.initial_sequences(search, warm_start, 3)
        search.score(self.first)


def test_a_search_starts_with_the_warm_start_followed_by_draws_of_init(point_model):
    planner = Beginner(Normal())
    plan(planner, point_model(), LAST_STEP)
    torch.testing.assert_close(planner.first, search_with(point_model()).normal(3).clamp(-1, 1))
    warm_start = random_plans(4, 5, 5)
    plan(planner, point_model(), LAST_STEP, warm_start=warm_start[:, :2])
    torch.testing.assert_close(planner.first[:, :2], warm_start[:, :2] / HIGH)
    torch.testing.assert_close(planner.first[:, 2:], search_with(point_model()).normal(1).clamp(-1, 1))
    plan(planner, point_model(), LAST_STEP, warm_start=warm_start)
    torch.testing.assert_close(planner.first, warm_start[:, :3] / HIGH)


def test_a_warm_start_is_in_the_simulators_units(point_model):
    planner = Beginner(Zeros(), torch.tensor([-0.25, 1.0]), torch.tensor([0.25, 3.0]))
    plan(planner, point_model(), LAST_STEP, n=1, warm_start=torch.tensor([[[[0.125, 2.0], [-1.0, 4.0]]]]))
    torch.testing.assert_close(planner.warm_start, torch.tensor([[[[0.5, 0.0], [-1.0, 1.0]]]]))


def test_the_elites_are_the_plan_and_the_sequences_that_the_search_returns(point_model):
    class Recommending(Beginner):
        def search(self, search, warm_start):
            super().search(search, warm_start)
            return self.first[:, 1:]

    planner = Recommending(Normal())
    made = plan(planner, point_model(), LAST_STEP)
    torch.testing.assert_close(made.elites, torch.cat((made.actions[:, None], HIGH * planner.first[:, 1:]), 1))
    assert plan(Beginner(Normal()), point_model(), LAST_STEP).elites.shape == (4, 1, 5, 2)
