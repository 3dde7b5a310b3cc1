import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from gapclose.finetuning.attacks import FGSM
from gapclose.models.encoders import StateEncoder
from gapclose.models.world_model import LearnedWorldModel


class LinearDynamics(nn.Module):
    """`z' = z A + a B`, of which the strongest attack is known."""

    members = 1

    def __init__(self, a=None, b=None):
        super().__init__()
        self.a = nn.Parameter(torch.eye(2) if a is None else a)
        self.b = nn.Parameter(torch.eye(2) if b is None else b)
        self.register_buffer("action_std", torch.tensor([0.5, 2.0]))
        self.register_buffer("delta_std", torch.tensor([1.0, 0.25]))

    def rollout(self, latent, actions):
        latents = [latent]
        for action in actions.unbind(1):
            latents.append(latents[-1] @ self.a + (action @ self.b).unsqueeze(1))
        return torch.stack(latents, 1)


def linear(a=None, b=None):
    return LearnedWorldModel(StateEncoder(2), LinearDynamics(a, b))


def transitions(n=6, members=1, seed=0):
    random = torch.Generator().manual_seed(seed)
    latent = torch.randn(n, 1, 2, generator=random).expand(-1, members, -1)
    actions = torch.randn(n, 1, 2, generator=random)
    return latent, actions, (latent + torch.randn(n, 1, 2, generator=random)).unsqueeze(1)


def loss_under(model, perturbation, latent, actions, targets):
    with torch.no_grad():
        return model.rollout_loss(latent + perturbation.latent, actions + perturbation.actions, targets)


def attacked(attack, model, data, seed=0):
    torch.manual_seed(seed)
    return attack.perturb(model, *data)


radii = st.one_of(st.just(0.0), st.floats(1e-6, 5.0))


@given(radii, radii, st.floats(0.01, 10.0), st.integers(0, 2**32))
def test_every_coordinate_stays_in_its_ball(latent_radius, action_radius, step_ratio, seed):
    model = linear(torch.randn(2, 2, generator=torch.Generator().manual_seed(seed)))
    data = latent, actions, _ = transitions(seed=seed)
    delta = attacked(FGSM(latent_radius, action_radius, step_ratio), model, data, seed)
    assert delta.latent.shape == latent.shape
    assert delta.actions.shape == actions.shape
    assert (delta.latent.abs() <= torch.tensor(latent_radius)).all()
    assert (delta.actions.abs() <= torch.tensor(action_radius) * model.dynamics.action_std).all()
    assert not delta.latent.requires_grad
    assert not delta.actions.requires_grad


def test_a_radius_of_zero_perturbs_nothing_and_leaves_the_other_input_to_the_attack():
    data = transitions()
    delta = attacked(FGSM(0.0, 0.1), linear(), data)
    assert (delta.latent == 0).all()
    assert (delta.actions != 0).any()
    delta = attacked(FGSM(0.1, 0.0), linear(), data)
    assert (delta.latent != 0).any()
    assert (delta.actions == 0).all()


def test_members_of_an_ensemble_are_perturbed_each_for_itself(ensemble):
    delta = attacked(FGSM(0.3, 0.2), ensemble, transitions(members=3))
    assert delta.latent.shape == (6, 3, 2)
    assert (delta.latent.abs() <= 0.3).all()
    assert (delta.actions.abs() <= 0.2 * ensemble.dynamics.action_std).all()
    assert (delta.latent[:, 0] != delta.latent[:, 1]).any()


@given(radii, radii, st.floats(0.01, 3.0), st.integers(0, 2**32))
def test_on_a_linear_model_it_does_at_least_as_well_as_its_random_start(latent_radius, action_radius, step_ratio, seed):
    random = torch.Generator().manual_seed(seed)
    model = linear(torch.randn(2, 2, generator=random), torch.randn(2, 2, generator=random))
    data = transitions(seed=seed)
    # A step of no size ends where it starts.
    start = attacked(FGSM(latent_radius, action_radius, 1e-12), model, data, seed)
    end = attacked(FGSM(latent_radius, action_radius, step_ratio), model, data, seed)
    before, after = (loss_under(model, delta, *data) for delta in (start, end))
    assert after >= before * (1 - 1e-5)


@pytest.mark.parametrize("step_ratio", [2.0, 2.5, 100.0])
@pytest.mark.parametrize("seed", range(5))
def test_long_steps_reach_the_strongest_corner_of_a_linear_model(step_ratio, seed):
    latent, actions, _ = transitions()
    model = linear()
    # An error larger than what the attack can do to it, so that its sign stays: the best corner is that sign's.
    error = torch.tensor([[[3.0, -4.0]], [[-5.0, 2.5]]]).repeat(3, 1, 1)
    data = (latent, actions, (latent + actions - error).unsqueeze(1))
    latent_radius, action_radius = 0.5, 0.25
    delta = attacked(FGSM(latent_radius, action_radius, step_ratio), model, data, seed)
    torch.testing.assert_close(delta.latent, 0.5 * error.sign())
    torch.testing.assert_close(delta.actions, torch.tensor([0.125, 0.5]) * error.sign())
    reach = latent_radius + action_radius * model.dynamics.action_std
    maximum = ((error.abs() + reach) / model.dynamics.delta_std).square().mean()
    torch.testing.assert_close(loss_under(model, delta, *data), maximum)


def test_short_steps_go_towards_that_corner_from_a_uniform_start():
    latent, actions, _ = transitions(n=4000)
    error = torch.full((4000, 1, 2), 5.0)
    data = (latent, actions, (latent + actions - error).unsqueeze(1))
    start = attacked(FGSM(0.5, 0.0, 1e-12), linear(), data)
    assert start.latent.mean().abs() < 0.02
    assert start.latent.var().item() == pytest.approx(0.25 / 3, rel=0.05)
    end = attacked(FGSM(0.5, 0.0, 1.25), linear(), data)
    torch.testing.assert_close(end.latent, (start.latent + 1.25 * 0.5).clamp(max=0.5))
    # Of a uniform start, 5 of 8 come to the corner.
    assert (end.latent == 0.5).float().mean().item() == pytest.approx(5 / 8, abs=0.03)


def test_it_beats_random_perturbations_of_the_same_size_on_an_ensemble(ensemble, trajectories):
    data = ensemble.encode_window(trajectories.windows(torch.arange(200), 1))
    random, attack = (attacked(FGSM(0.3, 0.3, ratio), ensemble, data) for ratio in (1e-12, 1.25))
    assert loss_under(ensemble, attack, *data) > 1.1 * loss_under(ensemble, random, *data)


def test_the_gradients_of_the_parameters_stay_as_they_were(ensemble):
    data = transitions(members=3)
    attacked(FGSM(0.1, 0.1), ensemble, data)
    assert all(parameter.grad is None for parameter in ensemble.parameters())
    ensemble.rollout_loss(*data).backward()
    before = [parameter.grad.clone() for parameter in ensemble.parameters()]
    attacked(FGSM(0.1, 0.1), ensemble, data)
    assert all(torch.equal(parameter.grad, grad) for parameter, grad in zip(ensemble.parameters(), before))


def test_the_transitions_stay_as_they_were(ensemble):
    data = transitions(members=3)
    before = [tensor.clone() for tensor in data]
    attacked(FGSM(0.1, 0.1), ensemble, data)
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(data, before))
    assert not any(tensor.requires_grad for tensor in data)


def test_it_attacks_also_where_gradients_are_switched_off(ensemble):
    data = transitions(members=3)
    with torch.no_grad():
        delta = attacked(FGSM(0.1, 0.1), ensemble, data)
    assert torch.equal(delta.latent, attacked(FGSM(0.1, 0.1), ensemble, data).latent)


@pytest.mark.parametrize(
    "wrong",
    [dict(latent_radius=-0.1), dict(action_radius=-0.1), dict(step_ratio=0.0), dict(latent_radius=float("nan"))],
    ids=str,
)
def test_impossible_settings_are_refused_by_name(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        FGSM(**dict(latent_radius=0.1, action_radius=0.1) | wrong)
