import pytest
import torch
from pydantic import ValidationError

from gapclose.errors import UserError
from gapclose.planning.objective import Disagreement, GoalDistance, Objective

# Two tasks, two steps, two members, one coordinate.
LATENTS = torch.tensor(
    [
        [[[9.0], [9.0]], [[1.0], [3.0]], [[4.0], [6.0]]],
        [[[0.0], [0.0]], [[2.0], [2.0]], [[1.0], [0.0]]],
    ]
)
GOAL = torch.tensor([[[1.0], [1.0]], [[0.0], [0.0]]])
ACTIONS = torch.zeros(2, 2, 1)


@pytest.mark.parametrize(
    ("at", "costs"),
    [
        ("last", [(9 + 25) / 2, 1 / 2]),
        ("all", [((0 + 4) / 2 + (9 + 25) / 2) / 2, (4 + 1 / 2) / 2]),
        ("nearest", [(0 + 4) / 2, 1 / 2]),
    ],
)
def test_the_goals_distance_is_that_computed_by_hand(at, costs):
    torch.testing.assert_close(GoalDistance(at)(LATENTS, ACTIONS, GOAL), torch.tensor(costs))


def test_where_the_plan_starts_costs_nothing():
    elsewhere = LATENTS.clone()
    elsewhere[:, 0] += 100
    for at in ("last", "all", "nearest"):
        term = GoalDistance(at)
        assert torch.equal(term(elsewhere, ACTIONS, GOAL), term(LATENTS, ACTIONS, GOAL))


def test_disagreement_is_the_members_variance_summed_over_steps_and_averaged_over_coordinates():
    torch.testing.assert_close(Disagreement()(LATENTS, ACTIONS, GOAL), torch.tensor([1.0 + 1.0, 0.0 + 0.25]))
    two_coordinates = torch.cat((LATENTS, torch.zeros_like(LATENTS)), -1)
    torch.testing.assert_close(Disagreement()(two_coordinates, ACTIONS, GOAL), torch.tensor([1.0, 0.125]))


def test_members_that_agree_and_a_single_member_do_not_disagree():
    assert Disagreement()(LATENTS[:, :, :1], ACTIONS, GOAL).tolist() == [0.0, 0.0]
    assert Disagreement()(LATENTS[:, :, :1].expand(-1, -1, 5, -1), ACTIONS, GOAL).tolist() == [0.0, 0.0]


def test_latents_may_have_any_number_of_axes():
    latents, goal = torch.randn(3, 5, 2, 4, 6), torch.randn(3, 2, 4, 6)
    flat = [x.flatten(start) for x, start in ((latents, 3), (goal, 2))]
    for term in (GoalDistance("last"), GoalDistance("all"), GoalDistance("nearest"), Disagreement()):
        torch.testing.assert_close(term(latents, ACTIONS, goal), term(flat[0], ACTIONS, flat[1]))


def objective(goal=2.0, disagreement=10.0):
    return Objective(dict(goal=GoalDistance("last", goal), disagreement=Disagreement(disagreement)))


def test_an_objective_is_the_weighted_sum_of_its_terms():
    torch.testing.assert_close(
        objective().cost(LATENTS, ACTIONS, GOAL), torch.tensor([2 * 17.0 + 10 * 2.0, 2 * 0.5 + 10 * 0.25])
    )


def test_a_term_of_no_weight_is_not_there():
    infinite = LATENTS.clone()
    infinite[:, 1, 0] = torch.inf  # a variance that is NaN, whatever it is multiplied with
    cost = objective(disagreement=0.0).cost(infinite, ACTIONS, GOAL)
    assert torch.equal(cost, 2 * GoalDistance("last")(infinite, ACTIONS, GOAL))


def test_an_objective_without_weight_is_refused():
    with pytest.raises(UserError, match="goal, disagreement"):
        objective(0.0, 0.0)


def test_weights_are_found_by_name():
    assert objective().weight("goal") == 2.0
    assert objective().weight("disagreement") == 10.0
    assert objective().weight("smoothness") == 0.0


def test_without_removes_one_term_and_leaves_the_original():
    whole = objective()
    trusting = whole.without("disagreement")
    torch.testing.assert_close(trusting.cost(LATENTS, ACTIONS, GOAL), torch.tensor([34.0, 1.0]))
    assert trusting.weight("disagreement") == 0.0
    assert whole.weight("disagreement") == 10.0
    assert set(whole.without("smoothness").terms) == {"goal", "disagreement"}


@pytest.mark.parametrize("weight", [-1.0, float("nan"), "much"])
def test_an_impossible_weight_is_refused_by_name(weight):
    with pytest.raises(ValidationError, match="weight"):
        GoalDistance(weight=weight)
    with pytest.raises(ValidationError, match="weight"):
        Disagreement(weight=weight)


def test_an_unknown_place_to_measure_at_is_refused_with_those_there_are():
    with pytest.raises(ValidationError, match="'last', 'all' or 'nearest'"):
        GoalDistance(at="first")
