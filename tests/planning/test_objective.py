import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gapclose.errors import UserError
from gapclose.planning.objective import ActionSize, Disagreement, GoalDistance, Objective, Smoothness

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
def test_the_goal_distance_equals_the_one_computed_by_hand(at, costs):
    torch.testing.assert_close(GoalDistance(at)(LATENTS, ACTIONS, GOAL), torch.tensor(costs))


@pytest.mark.parametrize("decay", [0.5, 1.0, 2.0])
def test_decay_is_the_weight_of_a_step_relative_to_the_next_one(decay):
    first, last = torch.tensor([2.0, 4.0]), torch.tensor([17.0, 0.5])
    by_hand = (decay * first + last) / (decay + 1)
    torch.testing.assert_close(GoalDistance("all", decay=decay)(LATENTS, ACTIONS, GOAL), by_hand)


def test_decay_holds_over_many_steps_and_does_not_change_a_constant_cost():
    latents, goal = torch.zeros(1, 5, 1, 1), torch.zeros(1, 1, 1)
    latents[0, 2] = 1.0
    cost = GoalDistance("all", decay=0.5)(latents, ACTIONS, goal)
    assert cost.item() == pytest.approx(0.25 / (1 + 0.5 + 0.25 + 0.125))
    constant = GoalDistance("all", decay=0.5)(torch.full_like(latents, 3.0), ACTIONS, goal)
    assert constant.item() == pytest.approx(9.0)


@pytest.mark.parametrize("at", ["last", "nearest", "soft_nearest"])
def test_decay_matters_only_where_all_steps_count(at):
    one, other = (GoalDistance(at, decay=decay)(LATENTS, ACTIONS, GOAL) for decay in (1.0, 0.5))
    assert torch.equal(one, other)


def test_the_soft_nearest_step_equals_the_one_computed_by_hand():
    squared, t = [(2.0, 17.0), (4.0, 0.5)], 3.0
    by_hand = [-t * math.log((math.exp(-a / t) + math.exp(-b / t)) / 2) for a, b in squared]
    cost = GoalDistance("soft_nearest", temperature=t)(LATENTS, ACTIONS, GOAL)
    torch.testing.assert_close(cost, torch.tensor(by_hand))


@given(st.lists(st.floats(0, 9, width=32), min_size=1, max_size=8), st.floats(0.01, 100))
def test_the_soft_nearest_step_lies_between_the_nearest_and_the_mean(distances, temperature):
    latents = torch.tensor([0.0, *distances]).view(1, -1, 1, 1)
    goal = torch.zeros(1, 1, 1)
    soft, nearest, mean = (
        term(latents, ACTIONS, goal).item()
        for term in (
            GoalDistance("soft_nearest", temperature=temperature),
            GoalDistance("nearest"),
            GoalDistance("all"),
        )
    )
    rounding = 1e-4 * (1 + temperature)
    assert nearest - rounding <= soft <= mean + rounding


def test_the_soft_nearest_step_tends_to_the_nearest_and_to_the_mean():
    cold, hot = (GoalDistance("soft_nearest", temperature=t)(LATENTS, ACTIONS, GOAL) for t in (1e-4, 1e3))
    torch.testing.assert_close(cold, GoalDistance("nearest")(LATENTS, ACTIONS, GOAL), atol=1e-3, rtol=0)
    torch.testing.assert_close(hot, GoalDistance("all")(LATENTS, ACTIONS, GOAL), atol=0.1, rtol=0)


def test_every_step_has_a_gradient_with_soft_nearest():
    latents = LATENTS.clone().requires_grad_()
    GoalDistance("soft_nearest", temperature=10.0)(latents, ACTIONS, GOAL).sum().backward()
    assert (latents.grad[0, 1:].abs().amax((1, 2)) > 0).all()
    assert torch.equal(latents.grad[:, 0], torch.zeros(2, 2, 1))


def test_the_start_of_a_plan_does_not_count():
    elsewhere = LATENTS.clone()
    elsewhere[:, 0] += 100
    for at in ("last", "all", "nearest", "soft_nearest"):
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
    for term in (*map(GoalDistance, ("last", "all", "nearest", "soft_nearest")), Disagreement()):
        torch.testing.assert_close(term(latents, ACTIONS, goal), term(flat[0], ACTIONS, flat[1]))


SOME_ACTIONS = torch.tensor([[[1.0, 2.0], [3.0, 0.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0], [0.0, 6.0]]])


def test_the_actions_size_is_their_mean_square():
    torch.testing.assert_close(ActionSize()(LATENTS, SOME_ACTIONS, GOAL), torch.tensor([39 / 6, 36 / 6]))


def test_smoothness_is_the_mean_square_of_the_actions_changes():
    torch.testing.assert_close(Smoothness()(LATENTS, SOME_ACTIONS, GOAL), torch.tensor([24 / 4, 36 / 4]))
    assert Smoothness()(LATENTS, SOME_ACTIONS[:, :1], GOAL).tolist() == [0, 0]


def objective(goal=2.0, disagreement=10.0, **settings):
    terms = dict(goal=GoalDistance("last", weight=goal), disagreement=Disagreement(disagreement, **settings))
    return Objective(terms)


def test_an_objective_is_the_weighted_sum_of_its_terms():
    torch.testing.assert_close(
        objective().cost(LATENTS, ACTIONS, GOAL), torch.tensor([2 * 17.0 + 10 * 2.0, 2 * 0.5 + 10 * 0.25])
    )


def test_every_kind_of_term_has_its_weight():
    terms = dict(
        goal=GoalDistance("all", weight=2.0), size=ActionSize(3.0), smoothness=Smoothness(5.0), other=Disagreement(7.0)
    )
    by_hand = sum(term.weight * term(LATENTS, SOME_ACTIONS, GOAL) for term in terms.values())
    torch.testing.assert_close(Objective(terms).cost(LATENTS, SOME_ACTIONS, GOAL), by_hand)
    assert [term.weight for term in terms.values()] == [2, 3, 5, 7]


@pytest.mark.parametrize(("progress", "weight"), [(0.0, 2.0), (0.25, 4.0), (1.0, 10.0)])
def test_a_weight_grows_linearly_from_its_initial_share(progress, weight):
    growing = objective(initial_share=0.2)
    by_hand = torch.tensor([34.0, 1.0]) + weight * torch.tensor([2.0, 0.25])
    torch.testing.assert_close(growing.cost(LATENTS, ACTIONS, GOAL, progress), by_hand)
    assert growing.changes


def test_by_default_the_whole_weight_counts():
    for same in (objective(), objective(initial_share=0.0)):
        by_hand = torch.tensor([34.0, 1.0]) + 10 * torch.tensor([2.0, 0.25])
        torch.testing.assert_close(same.cost(LATENTS, ACTIONS, GOAL), by_hand)


def test_an_objective_changes_only_if_a_positive_weight_does():
    assert not objective().changes
    assert not objective(disagreement=0.0, initial_share=0.2).changes
    assert not objective(initial_share=0.2).without("disagreement").changes
    assert Objective(dict(goal=GoalDistance(initial_share=0.5))).changes


def test_a_term_with_weight_zero_is_ignored():
    infinite = LATENTS.clone()
    infinite[:, 1, 0] = torch.inf  # a variance that is NaN, whatever it is multiplied with
    cost = objective(disagreement=0.0).cost(infinite, ACTIONS, GOAL)
    assert torch.equal(cost, 2 * GoalDistance("last")(infinite, ACTIONS, GOAL))


def test_an_objective_without_weight_is_refused():
    with pytest.raises(UserError, match="goal, disagreement"):
        objective(0.0, 0.0)


def test_an_objective_without_a_goal_distance_is_refused():
    with pytest.raises(UserError, match=r"goal, disagreement.*measures the distance to the goal"):
        objective(0.0, 10.0)
    with pytest.raises(UserError, match="size, smoothness"):
        Objective(dict(size=ActionSize(), smoothness=Smoothness()))
    with pytest.raises(UserError, match="disagreement"):
        objective().without("goal")


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


def test_an_automatic_weight_makes_typical_disagreement_cost_as_much_as_missing_by_a_full_step(ensemble, trajectories):
    fitted = objective(disagreement="auto", initial_share=0.3).calibrated(ensemble, trajectories)
    latents = ensemble.encode(trajectories.states.flatten(0, 1)).unflatten(0, trajectories.states.shape[:2])
    step = (latents[:, 1:] - latents[:, :-1]).square().mean((2, 3)).quantile(0.95)
    with torch.no_grad():
        imagined = ensemble.rollout(latents[:, 0], trajectories.actions)
    disagreement = Disagreement()(imagined, trajectories.actions, latents[:, -1]).mean()
    assert fitted.weight("disagreement") == pytest.approx((step / disagreement).item(), rel=1e-4)
    assert fitted.terms["disagreement"].initial_share == 0.3
    assert fitted.changes


def test_an_automatic_weight_in_numbers(point_model, trajectories):
    """Two members that drift apart by 0.2 a step, around a truth that moves by 0.5."""

    class Drifting(point_model):
        def encode(self, observation):
            return observation.unsqueeze(1).expand(-1, 2, -1)

        def step(self, latent, action):
            return latent + torch.tensor([[-0.1], [0.1]])

    states = 0.5 * torch.arange(4.0)[None, :, None].expand(3, 4, 2)
    held_out = trajectories._replace(states=states, actions=torch.zeros(3, 3, 2))
    fitted = objective(disagreement="auto").calibrated(Drifting(), held_out)
    # The variances are 0.01, 0.04 and 0.09.
    assert fitted.weight("disagreement") == pytest.approx(0.25 / 0.14)


def test_calibrating_changes_neither_the_original_nor_fixed_weights(ensemble, trajectories):
    automatic, fixed = objective(disagreement="auto"), objective()
    before = automatic.weight("disagreement")
    fitted = automatic.calibrated(ensemble, trajectories)
    assert automatic.weight("disagreement") == before != fitted.weight("disagreement")
    assert fitted.weight("goal") == 2.0
    assert fixed.calibrated(ensemble, trajectories).weight("disagreement") == 10.0
    again = automatic.calibrated(ensemble, trajectories)
    assert again.weight("disagreement") == fitted.weight("disagreement")


def test_a_model_whose_members_agree_may_be_calibrated_too(point_model, trajectories):
    fitted = objective(disagreement="auto").calibrated(point_model(), trajectories)
    assert math.isfinite(fitted.weight("disagreement"))
    one = LATENTS[:, :, :1]
    torch.testing.assert_close(fitted.cost(one, ACTIONS, GOAL[:, :1]), 2 * GoalDistance()(one, ACTIONS, GOAL[:, :1]))


@pytest.mark.parametrize("term", [GoalDistance, Disagreement, ActionSize, Smoothness])
@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), "much"])
def test_an_impossible_weight_is_refused_by_name(term, weight):
    with pytest.raises(ValidationError, match="weight"):
        term(weight=weight)


@pytest.mark.parametrize("term", [GoalDistance, Disagreement, ActionSize, Smoothness])
@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_an_impossible_initial_share_is_refused_by_name(term, share):
    with pytest.raises(ValidationError, match="initial_share"):
        term(initial_share=share)


@pytest.mark.parametrize("wrong", [dict(decay=0.0), dict(temperature=0.0), dict(temperature=-1.0)], ids=str)
def test_impossible_settings_are_refused_by_name(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        GoalDistance(**wrong)


def test_an_unknown_value_of_at_is_refused_and_the_known_ones_are_listed():
    with pytest.raises(ValidationError, match="'last', 'all', 'nearest' or 'soft_nearest'"):
        GoalDistance(at="first")


@pytest.mark.parametrize("weight", [30.0, "auto"])
def test_disagreement_needs_an_ensemble(ensemble, point_model, weight):
    penalised = objective(disagreement=weight)
    penalised.require(ensemble)
    with pytest.raises(UserError, match="the disagreement of an ensemble, but the model has a single member"):
        penalised.require(point_model())
    for free in (objective(disagreement=0.0), penalised.without("disagreement")):
        free.require(point_model())


def test_goal_alone_keeps_only_the_goal_distances():
    terms = {"goal": GoalDistance("last"), "near": GoalDistance("nearest", weight=0.5), "risk": Disagreement(3.0)}
    assert set(Objective(terms).goal_alone().terms) == {"goal", "near"}
