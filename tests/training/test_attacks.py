from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.nn import functional as F

from gapclose.errors import UserError
from gapclose.models.dynamics.mlp import MLPDynamics
from gapclose.models.encoders.state import StateEncoder
from gapclose.models.world_model import LearnedWorldModel
from gapclose.training.attacks import L2, LInf, Perturbation, ProjectedGradient
from gapclose.training.radii import FixedRadii
from tests.training.conftest import linear, transitions


def fgsm(latent_radius, action_radius, step_ratio=1.25, **settings):
    return ProjectedGradient(FixedRadii(latent_radius, action_radius), step_ratio=step_ratio, **settings)


def pgd(latent_radius, action_radius, step_ratio=0.25, steps=10, **settings):
    return fgsm(latent_radius, action_radius, step_ratio, steps=steps, keep_best=True, **settings)


def loss_under(model, perturbation, latent, actions, targets):
    with torch.no_grad():
        return model.rollout_loss(latent + perturbation.latent, actions + perturbation.actions, targets)


def errors_under(model, perturbation, latent, actions, targets):
    with torch.no_grad():
        moved = latent + perturbation.latent, actions + perturbation.actions
        return model.rollout_errors(*moved, targets).flatten(1).mean(1)


def attacked(attack, model, data, seed=0):
    torch.manual_seed(seed)
    return attack.perturb(model, *data)


radii = st.one_of(st.just(0.0), st.floats(1e-6, 5.0))


settings = st.fixed_dictionaries(
    dict(
        steps=st.integers(0, 3),
        step_ratio=st.floats(0.01, 10.0),
        restarts=st.integers(1, 2),
        keep_best=st.just(True),
        norm=st.sampled_from(["linf", "l2"]),
    )
)


@given(radii, radii, settings, st.integers(1, 3), st.integers(0, 2**32))
def test_every_perturbation_stays_in_its_ball(latent_radius, action_radius, settings, window, seed):
    model = linear(torch.randn(2, 2, generator=torch.Generator().manual_seed(seed)))
    data = latent, actions, _ = transitions(seed=seed, steps=window)
    attack = ProjectedGradient(FixedRadii(latent_radius, action_radius), **settings)
    delta = attacked(attack, model, data, seed)
    assert delta.latent.shape == latent.shape
    assert delta.actions.shape == actions.shape
    order = dict(linf=torch.inf, l2=2)[settings["norm"]]
    lengths = (x.norm(order, dim=-1) for x in (delta.latent, delta.actions / model.dynamics.action_std))
    for length, radius in zip(lengths, (latent_radius, action_radius)):
        assert (length <= radius * (1 + 1e-5)).all()
        assert (length > 0).all() or radius == 0
    assert not delta.latent.requires_grad
    assert not delta.actions.requires_grad


def test_a_radius_of_zero_leaves_its_input_unperturbed_but_not_the_other():
    data = transitions()
    delta = attacked(fgsm(0.0, 0.1), linear(), data)
    assert (delta.latent == 0).all()
    assert (delta.actions != 0).any()
    delta = attacked(fgsm(0.1, 0.0), linear(), data)
    assert (delta.latent != 0).any()
    assert (delta.actions == 0).all()


def test_members_of_an_ensemble_are_perturbed_independently(ensemble):
    delta = attacked(fgsm(0.3, 0.2), ensemble, transitions(members=3))
    assert delta.latent.shape == (6, 1, 3, 2)
    assert (delta.latent.abs() <= 0.3).all()
    assert (delta.actions.abs() <= 0.2 * ensemble.dynamics.action_std).all()
    assert (delta.latent[:, :, 0] != delta.latent[:, :, 1]).any()


@given(radii, radii, st.floats(0.01, 3.0), st.integers(0, 2**32))
def test_on_a_linear_model_the_attack_is_at_least_as_strong_as_its_random_start(
    latent_radius, action_radius, step_ratio, seed
):
    random = torch.Generator().manual_seed(seed)
    model = linear(torch.randn(2, 2, generator=random), torch.randn(2, 2, generator=random))
    data = transitions(seed=seed)
    # With a step size of almost zero, the end is the start.
    start = attacked(fgsm(latent_radius, action_radius, 1e-12), model, data, seed)
    end = attacked(fgsm(latent_radius, action_radius, step_ratio), model, data, seed)
    before, after = (loss_under(model, delta, *data) for delta in (start, end))
    assert after >= before * (1 - 1e-5)


@pytest.mark.parametrize("step_ratio", [2.0, 2.5, 100.0])
@pytest.mark.parametrize("seed", range(5))
def test_long_steps_reach_the_strongest_corner_of_a_linear_model(step_ratio, seed):
    latent, actions, _ = transitions()
    model = linear()
    # The error is so large that the attack cannot change its sign, so the strongest corner has the sign of the error.
    error = torch.tensor([[[[3.0, -4.0]]], [[[-5.0, 2.5]]]]).repeat(3, 1, 1, 1)
    data = (latent, actions, latent + actions.unsqueeze(2) - error)
    latent_radius, action_radius = 0.5, 0.25
    delta = attacked(fgsm(latent_radius, action_radius, step_ratio), model, data, seed)
    torch.testing.assert_close(delta.latent, 0.5 * error.sign())
    torch.testing.assert_close(delta.actions, torch.tensor([0.125, 0.5]) * error.sign().squeeze(2))
    reach = latent_radius + action_radius * model.dynamics.action_std
    maximum = ((error.abs() + reach) / model.dynamics.delta_std).square().mean()
    torch.testing.assert_close(loss_under(model, delta, *data), maximum)


def test_short_steps_go_toward_the_strongest_corner_from_a_uniform_start():
    latent, actions, _ = transitions(n=4000)
    error = torch.full((4000, 1, 1, 2), 5.0)
    data = (latent, actions, latent + actions.unsqueeze(2) - error)
    start = attacked(fgsm(0.5, 0.0, 1e-12), linear(), data)
    assert start.latent.mean().abs() < 0.02
    assert start.latent.var().item() == pytest.approx(0.25 / 3, rel=0.05)
    end = attacked(fgsm(0.5, 0.0, 1.25), linear(), data)
    torch.testing.assert_close(end.latent, (start.latent + 1.25 * 0.5).clamp(max=0.5))
    # With a uniform start, 5 of 8 reach the corner.
    assert (end.latent == 0.5).float().mean().item() == pytest.approx(5 / 8, abs=0.03)


def test_the_attack_is_stronger_than_random_perturbations_of_the_same_size(ensemble, trajectories):
    data = ensemble.encode_window(trajectories.windows(torch.arange(200), 1))
    random, attack = (attacked(fgsm(0.3, 0.3, ratio), ensemble, data) for ratio in (1e-12, 1.25))
    assert loss_under(ensemble, attack, *data) > 1.1 * loss_under(ensemble, random, *data)


def test_the_attack_does_not_change_the_gradients_of_the_parameters(ensemble):
    data = transitions(members=3)
    attacked(fgsm(0.1, 0.1), ensemble, data)
    assert all(parameter.grad is None for parameter in ensemble.parameters())
    ensemble.rollout_loss(*data).backward()
    before = [parameter.grad.clone() for parameter in ensemble.parameters()]
    attacked(fgsm(0.1, 0.1), ensemble, data)
    assert all(torch.equal(parameter.grad, grad) for parameter, grad in zip(ensemble.parameters(), before))


def test_the_attack_does_not_change_its_arguments(ensemble):
    data = transitions(members=3)
    before = [tensor.clone() for tensor in data]
    attacked(fgsm(0.1, 0.1), ensemble, data)
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(data, before))
    assert not any(tensor.requires_grad for tensor in data)


def test_the_attack_works_inside_no_grad(ensemble):
    data = transitions(members=3)
    with torch.no_grad():
        delta = attacked(fgsm(0.1, 0.1), ensemble, data)
    assert torch.equal(delta.latent, attacked(fgsm(0.1, 0.1), ensemble, data).latent)


MODELS = ["linear", "mlp", "ensemble"]


@pytest.fixture(params=MODELS)
def model(request, ensemble, trajectories):
    if request.param == "linear":
        random = torch.Generator().manual_seed(0)
        return linear(torch.randn(2, 2, generator=random), torch.randn(2, 2, generator=random))
    if request.param == "ensemble":
        return ensemble
    with torch.random.fork_rng():
        torch.manual_seed(1)
        mlp = LearnedWorldModel(StateEncoder(2), MLPDynamics(2, 2, hidden_dim=16, num_layers=2))
    mlp.fit_normalization(trajectories)
    return mlp


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("window", [1, 4])
def test_many_steps_are_stronger_than_one_and_one_is_stronger_than_a_random_perturbation(
    model, trajectories, window, norm
):
    data = model.encode_window(trajectories.windows(torch.arange(100), window))
    attacks = [fgsm(0.5, 0.5, steps=0, norm=norm), fgsm(0.5, 0.5, norm=norm), pgd(0.5, 0.5, norm=norm)]
    random, one, many = (errors_under(model, attacked(attack, model, data), *data) for attack in attacks)
    assert one.mean() > 1.05 * random.mean()
    assert many.mean() >= one.mean()
    assert (many >= random * (1 - 1e-5)).all()


@pytest.mark.parametrize("window", [1, 3])
def test_with_keep_best_more_steps_or_starts_are_never_weaker_for_any_window(model, trajectories, window):
    data = model.encode_window(trajectories.windows(torch.arange(50), window))
    kept = [errors_under(model, attacked(pgd(0.5, 0.5, 2.0, steps), model, data), *data) for steps in (0, 1, 4)]
    for fewer, more in pairwise(kept):
        assert (more >= fewer * (1 - 1e-5)).all()
        assert (more > fewer).any()
    one, three = (
        errors_under(model, attacked(pgd(0.5, 0.5, 0.3, 1, restarts=restarts), model, data), *data).mean()
        for restarts in (1, 3)
    )
    assert three > one


def test_with_several_starts_each_window_keeps_its_own_best(ensemble):
    data = transitions(members=3)
    attack = pgd(0.3, 0.3, steps=0, restarts=5)
    torch.manual_seed(0)
    starts = [LInf.sample(x.expand(5, *x.shape)) for x in data[:2]]
    unit = 0.3 * ensemble.dynamics.action_std
    errors = torch.stack([errors_under(ensemble, Perturbation(0.3 * z, unit * a), *data) for z, a in zip(*starts)])
    kept = errors_under(ensemble, attacked(attack, ensemble, data), *data)
    torch.testing.assert_close(kept, errors.amax(0))
    assert len(errors.argmax(0).unique()) > 1


@pytest.mark.parametrize("seed", range(3))
def test_with_the_l2_norm_the_attack_on_a_linear_model_finds_the_direction_of_the_largest_error(seed):
    random = torch.Generator().manual_seed(seed)
    a = torch.randn(2, 2, generator=random)
    model, (latent, actions, _) = linear(a), transitions(n=8, seed=seed)
    error = torch.randn(8, 1, 1, 2, generator=random) * 3
    data = (latent, actions, latent @ a + actions.unsqueeze(2) - error)
    radius = 1e-4  # Small enough for the error to be linear within the ball.
    delta = attacked(fgsm(radius, radius, 1e4, norm="l2"), model, data, seed)
    scaled = error / model.dynamics.delta_std**2
    latent_gradient, action_gradient = scaled @ a.T, scaled * model.dynamics.action_std
    expected = radius * F.normalize(latent_gradient, dim=-1), radius * F.normalize(action_gradient, dim=-1)
    torch.testing.assert_close(delta.latent, expected[0], rtol=1e-3, atol=1e-8)
    torch.testing.assert_close(
        delta.actions.unsqueeze(2), expected[1] * model.dynamics.action_std, rtol=1e-3, atol=1e-8
    )


def test_with_the_l2_norm_many_steps_reach_the_maximum_of_a_linear_model():
    model, (latent, actions, _) = linear(), transitions()
    model.dynamics.delta_std.fill_(1.0)
    error = torch.randn(6, 1, 1, 2, generator=torch.Generator().manual_seed(1))
    data = (latent, actions, latent + actions.unsqueeze(2) - error)
    delta = attacked(pgd(0.5, 0.0, norm="l2", steps=40), model, data)
    expected = (error.norm(dim=-1) + 0.5).square().flatten() / 2
    found = errors_under(model, delta, *data)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)


@given(st.integers(1, 5), st.integers(0, 2**32))
def test_starts_are_uniform_in_the_ball(dim, seed):
    torch.manual_seed(seed)
    like = torch.empty(4000, dim)
    # Half of the volume lies within this share of the radius.
    half = 0.5 ** (1 / dim)
    for ball, order in ((LInf, torch.inf), (L2, 2)):
        points = ball.sample(like)
        assert (points.norm(order, dim=-1) < half).float().mean().item() == pytest.approx(0.5, abs=0.05)
        assert points.mean(0).abs().max() < 0.06


@pytest.mark.parametrize("ball", [LInf, L2])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1.0, 1e30, torch.inf, torch.nan])
def test_points_stay_finite_for_any_gradient(ball, size):
    points = ball.steepest(torch.tensor([[size, -size], [0.0, size]]))
    assert points.isfinite().all()
    assert (points.abs() <= 1).all()


def test_no_gradients_of_parameters_are_computed(ensemble):
    data = transitions(members=3)
    seen = []
    hooks = [parameter.register_hook(seen.append) for parameter in ensemble.parameters()]
    attacked(pgd(0.1, 0.1), ensemble, data)
    assert not seen
    assert all(parameter.requires_grad for parameter in ensemble.parameters())
    ensemble.rollout_loss(*data).backward()
    assert len(seen) == len(hooks)


@pytest.mark.parametrize(
    "wrong",
    [dict(steps=-1), dict(step_ratio=0.0), dict(step_ratio=float("nan")), dict(restarts=0), dict(norm="l1")],
    ids=str,
)
def test_impossible_settings_are_refused_by_name(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        ProjectedGradient(FixedRadii(), **wrong)


def test_several_starts_without_keep_best_are_refused():
    with pytest.raises(UserError, match="set keep_best=true"):
        ProjectedGradient(FixedRadii(), restarts=3)
