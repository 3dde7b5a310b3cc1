import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gapclose.errors import UserError
from gapclose.training.adversarial import AdversarialTraining
from gapclose.training.attacks import ProjectedGradient
from gapclose.training.radii import AdaptiveRadii, FixedRadii, LearnedRadii
from tests.training.conftest import linear, transitions

positive = st.floats(1e-3, 10.0)


def batch(latent_spread=1.0, action_spread=1.0, n=64, members=3, steps=2, seed=0):
    random = torch.Generator().manual_seed(seed)
    latent = latent_spread * torch.randn(n, 1, 1, 2, generator=random).expand(-1, -1, members, -1)
    return latent, action_spread * torch.randn(n, steps, 2, generator=random)


def test_fixed_radii_are_in_units_of_the_training_data(ensemble):
    latent, actions = FixedRadii(0.3, 0.2)(ensemble, *batch(5.0, 7.0))
    assert latent.item() == pytest.approx(0.3)
    torch.testing.assert_close(actions, 0.2 * ensemble.dynamics.action_std)


@given(positive, positive, positive, positive)
def test_adaptive_radii_are_factors_of_the_standard_deviation_of_the_batch(factor, other, spread, scale):
    model = linear()
    latent, actions = batch(spread, scale)
    radii = AdaptiveRadii(factor, other)
    latent_radius, action_radius = radii(model, latent, actions)
    torch.testing.assert_close(latent_radius, factor * rms_deviation(latent[:, 0, 0]))
    in_units = rms_deviation((actions / model.dynamics.action_std).flatten(0, 1))
    torch.testing.assert_close(action_radius, other * in_units * model.dynamics.action_std)
    torch.testing.assert_close(radii.current(), torch.stack([latent_radius, action_radius[0] / 0.5]))


def rms_deviation(rows):
    return (rows - rows.mean(0)).square().mean().sqrt()


def test_a_running_estimate_moves_from_the_training_data_to_the_batches(ensemble):
    radii = AdaptiveRadii(1.0, 1.0, momentum=0.75)
    data = batch(3.0, 3.0)
    spread = rms_deviation(data[0][:, 0, 0])
    for left in (0.75, 0.75**2, 0.75**3):
        latent_radius, _ = radii(ensemble, *data)
        torch.testing.assert_close(latent_radius, left + (1 - left) * spread)
    before = radii.current().clone()
    radii.eval()(ensemble, *batch(100.0))
    assert torch.equal(radii.current(), before)


def test_a_batch_of_one_window_has_no_spread_and_gets_no_perturbation(ensemble):
    latent, actions = AdaptiveRadii()(ensemble, *batch(n=1, steps=1))
    assert latent == 0
    assert (actions == 0).all()


def linear_with_residual(residual):
    """A linear model, and transitions on which its error is `residual` in each coordinate."""
    latent, actions, _ = transitions(n=16)
    return linear(), (latent, actions, latent + actions.unsqueeze(2) - residual)


@pytest.mark.parametrize("target", [0.12, 0.4, 3.0])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_learned_radii_reach_the_target_strength_on_a_linear_model(target, rate):
    residual = 0.3
    model, data = linear_with_residual(residual)
    model.dynamics.delta_std.fill_(1.0)
    # With this many starts, one of them leads to the worst corner.
    radii = LearnedRadii(FixedRadii(0.01, 0.01), target, rate, smallest=1e-5, largest=100.0)
    module = training(model, ProjectedGradient(radii, step_ratio=2.0, restarts=64, keep_best=True))
    for _ in range(300 if rate < 0.5 else 80):
        strengths = module.strengths(*data, module.attack.perturb(model, *data))
        radii.adjust(strengths)
    torch.testing.assert_close(strengths, torch.full((2,), target), rtol=1e-3, atol=0)
    # With radius r the error is residual + r in both coordinates.
    assert radii.current()[0].item() == pytest.approx(math.sqrt(target) - residual, rel=1e-3)
    # With radius r the error is residual + r / 2 in one coordinate and residual + 2 r in the other.
    a, b, c = 0.5**2 + 2**2, 2 * residual * 2.5, 2 * (residual**2 - target)
    assert radii.current()[1].item() == pytest.approx((-b + math.sqrt(b * b - 4 * a * c)) / (2 * a), rel=1e-3)


def training(model, attack, **settings):
    return AdversarialTraining(model, attack=attack, optimizer=torch.optim.SGD, scheduler=None, **settings)


@given(st.lists(st.sampled_from([0.0, 1e-30, 0.5, 1.0, 4.0, 1e30, math.inf, math.nan, -1.0]), max_size=200))
def test_radii_stay_within_their_bounds_for_any_strengths(strengths):
    radii = LearnedRadii(FixedRadii(0.05, 0.02), rate=0.9, smallest=0.01, largest=0.1)
    for strength in strengths:
        radii.adjust(torch.tensor([strength, 2.0]))
        assert (radii.current() >= torch.tensor(0.01)).all()
        assert (radii.current() <= torch.tensor(0.1)).all()


@pytest.mark.parametrize(("strength", "change"), [(4.0, 0), (1.0, 1), (0.0, 1), (100.0, -1), (math.inf, -1)])
def test_radii_grow_where_the_attack_is_too_weak_and_shrink_where_it_is_too_strong(strength, change):
    radii = LearnedRadii(FixedRadii(), target=4.0, rate=0.1)
    before = radii.current().clone()
    radii.adjust(torch.tensor([strength, 4.0]))
    factor = (radii.current() / before).tolist()
    assert factor == [pytest.approx(math.exp(0.1 * change)), pytest.approx(1.0)]


def test_a_nan_strength_does_not_change_the_radii():
    radii = LearnedRadii(FixedRadii())
    before = radii.current().clone()
    radii.adjust(torch.tensor([math.nan, math.nan]))
    assert torch.equal(radii.current(), before)


@pytest.mark.parametrize("error", [0.0, math.nan])
def test_radii_stay_finite_for_perfect_and_for_broken_models(error):
    model, data = linear_with_residual(error)
    radii = LearnedRadii(FixedRadii())
    module = training(model, ProjectedGradient(radii))
    for _ in range(200):
        delta = module.attack.perturb(model, *data)
        assert all(x.isfinite().all() for x in delta)
        radii.adjust(module.strengths(*data, delta))
    if error == 0:
        # A linear model's corners: r² / σ² averaged over both coordinates, and the same of actions with spreads 0.5, 2.
        latent, action = radii.current().tolist()
        assert 0.03 <= latent**2 * (1 + 16) / 2 < 0.03 * 1.5
        assert 0.03 <= action**2 * (0.25 + 4 * 16) / 2 < 0.03 * 1.5
    else:
        assert radii.current().tolist() == pytest.approx([0.05, 0.02])


def test_the_factors_of_adaptive_radii_are_learned_in_the_same_way(ensemble):
    radii = LearnedRadii(AdaptiveRadii(0.05, 0.02), target=4.0, rate=0.1)
    radii.adjust(torch.ones(2))
    latent, actions = batch(3.0)
    latent_radius, _ = radii(ensemble, latent, actions)
    torch.testing.assert_close(latent_radius, 0.05 * math.exp(0.1) * rms_deviation(latent[:, 0, 0]))


def test_all_state_is_in_buffers_and_is_restored_from_them(ensemble):
    def radii():
        return LearnedRadii(AdaptiveRadii(momentum=0.9))

    changed, fresh = radii(), radii()
    changed(ensemble, *batch(5.0))
    changed.adjust(torch.tensor([1.0, 9.0]))
    assert not list(changed.parameters())
    assert not torch.equal(changed.current(), fresh.current())
    fresh.load_state_dict(changed.state_dict())
    assert torch.equal(changed.current(), fresh.current())


@pytest.mark.parametrize(
    "wrong",
    [dict(target=0.0), dict(target=math.inf), dict(rate=0.0), dict(rate=1.0), dict(smallest=0.0), dict(largest=-1.0)],
    ids=str,
)
def test_impossible_controllers_are_refused_by_name(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        LearnedRadii(FixedRadii(), **wrong)


@pytest.mark.parametrize("wrong", [dict(latent=-0.1), dict(action=-0.1), dict(latent=math.nan), dict(momentum=1.1)])
def test_impossible_radii_are_refused_by_name(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        AdaptiveRadii(**wrong)


def test_contradictory_bounds_and_initial_radii_outside_them_are_refused():
    with pytest.raises(UserError, match=r"smallest radius is 0\.5 and the largest 0\.1"):
        LearnedRadii(FixedRadii(), smallest=0.5, largest=0.1)
    with pytest.raises(UserError, match=r"outside its bounds 0\.03 and 0\.1"):
        LearnedRadii(FixedRadii(), smallest=0.03, largest=0.1)
