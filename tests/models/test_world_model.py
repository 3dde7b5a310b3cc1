from copy import deepcopy

import pytest
import torch

from gapclose.data.trajectories import Trajectories, Window
from gapclose.errors import UserError
from gapclose.models.dynamics.mlp import MLPDynamics
from gapclose.models.encoders.state import StateEncoder
from gapclose.models.world_model import LearnedWorldModel, frozen


@pytest.fixture
def window(trajectories):
    return trajectories.windows(torch.arange(0, trajectories.num_windows(3), 5), 3)


def test_every_member_starts_from_the_normalised_observation(ensemble, trajectories):
    states = trajectories.states[:, 3]
    latent = ensemble.encode(states)
    assert latent.shape == (20, 3, 2)
    everything = trajectories.states.flatten(0, 1)
    for m in range(3):
        torch.testing.assert_close(latent[:, m], (states - everything.mean(0)) / everything.std(0))


def test_decoding_inverts_encoding(ensemble, trajectories):
    states = trajectories.states[:, 3]
    torch.testing.assert_close(ensemble.decode(ensemble.encode(states)), states)
    torch.testing.assert_close(ensemble.encoder.decode(ensemble.encoder(states)), states)


def test_the_prediction_of_an_ensemble_is_the_mean_of_its_members(ensemble):
    latents = torch.randn(4, 6, 3, 2)
    decoded = ensemble.decode(latents)
    members = [ensemble.encoder.decode(latents[:, :, m]) for m in range(3)]
    assert decoded.shape == (4, 6, 2)
    torch.testing.assert_close(decoded, torch.stack(members).mean(0))


def test_a_rollout_equals_repeated_steps(ensemble, trajectories):
    latent, actions = ensemble.encode(trajectories.states[:, 0]), trajectories.actions[:, :6]
    latents = ensemble.rollout(latent, actions)
    assert latents.shape == (20, 7, 3, 2)
    for t in range(6):
        assert torch.equal(latents[:, t], latent)
        latent = ensemble.step(latent, actions[:, t])
    assert torch.equal(latents[:, 6], latent)


def test_each_member_follows_its_own_trajectory(ensemble, trajectories):
    latents = ensemble.rollout(ensemble.encode(trajectories.states[:, 0]), trajectories.actions)
    changed = ensemble.encode(trajectories.states[:, 0]).clone()
    changed[:, 1] += 1
    others = ensemble.rollout(changed, trajectories.actions)
    torch.testing.assert_close(others[:, :, [0, 2]], latents[:, :, [0, 2]])
    assert (others[:, -1, 1] != latents[:, -1, 1]).all()


def test_the_loss_uses_the_encoded_window(ensemble, window):
    latents, actions, targets = ensemble.encode_window(window)
    for m in range(3):
        torch.testing.assert_close(latents[:, :, m], ensemble.encoder(window.states[:, :1]))
        torch.testing.assert_close(targets[:, :, m], ensemble.encoder(window.states[:, 1:]))
    assert torch.equal(actions, window.actions)


def test_the_loss_is_that_of_a_rollout_from_the_first_state_in_units_of_a_step(ensemble, window, trajectories):
    latents = ensemble.encoder(trajectories.states)
    unit = latents.diff(dim=1).flatten(0, 1).std(0)
    by_hand = []
    for states, actions in zip(*window):
        latent = ensemble.encode(states[:1])
        for action, next_state in zip(actions, states[1:]):
            latent = ensemble.step(latent, action[None])
            by_hand.append(((latent[0] - ensemble.encoder(next_state)) / unit).square().mean())
    torch.testing.assert_close(ensemble.loss(window), torch.stack(by_hand).mean())


def test_with_windows_of_one_step_the_loss_equals_that_of_teacher_forcing(ensemble, trajectories):
    window = trajectories.windows(torch.arange(20), 1)
    predicted = ensemble.step(ensemble.encode(window.states[:, 0]), window.actions[:, 0])
    error = (predicted - ensemble.encode(window.states[:, 1])) / ensemble.dynamics.delta_std
    torch.testing.assert_close(ensemble.loss(window), error.square().mean())


def test_the_mean_of_the_rollout_errors_is_the_loss(ensemble, window):
    inputs = ensemble.encode_window(window)
    errors = ensemble.rollout_errors(*inputs)
    torch.testing.assert_close(errors.mean(), ensemble.rollout_loss(*inputs))
    torch.testing.assert_close(errors[3].mean(), ensemble.rollout_loss(*(x[3:4] for x in inputs)))


def test_the_loss_of_perfect_dynamics_is_zero_and_of_predicting_no_change_about_one(trajectories):
    still = LearnedWorldModel(StateEncoder(2), MLPDynamics(2, 2))
    still.fit_normalization(trajectories)
    for parameter in still.dynamics.parameters():
        torch.nn.init.zeros_(parameter)
    resting = Window(trajectories.states[:, :1].expand(-1, 4, -1), trajectories.actions[:, :3])
    assert still.loss(resting) == 0
    window = trajectories.windows(torch.arange(trajectories.num_windows(1)), 1)
    mean_squared = still.encoder(trajectories.states).diff(dim=1).flatten(0, 1)
    torch.testing.assert_close(still.loss(window), (mean_squared / mean_squared.std(0)).square().mean())


def test_the_one_step_error_is_in_the_simulators_units(ensemble, window):
    errors = [
        (ensemble.decode(ensemble.step(ensemble.encode(s[None]), a[None]))[0] - s2).square().mean()
        for states, actions in zip(*window)
        for s, a, s2 in zip(states, actions, states[1:])
    ]
    torch.testing.assert_close(ensemble.one_step_error(window), torch.stack(errors).mean())


def test_the_one_step_error_of_predicting_no_change_is_the_mean_square_of_a_step(trajectories):
    still = LearnedWorldModel(StateEncoder(2), MLPDynamics(2, 2, members=2))
    still.fit_normalization(trajectories)
    for parameter in still.dynamics.parameters():
        torch.nn.init.zeros_(parameter)
    expected = trajectories.states.diff(dim=1).square().mean()
    torch.testing.assert_close(still.one_step_error(Window(*trajectories)), expected)
    assert not still.one_step_error(Window(*trajectories)).requires_grad


def test_normalisation_is_fitted_from_the_data(trajectories):
    model = LearnedWorldModel(StateEncoder(2), MLPDynamics(2, 2))
    moved = Trajectories(5 + 3 * trajectories.states, 2 * trajectories.actions)
    model.fit_normalization(moved)
    latents = model.encoder(moved.states)
    torch.testing.assert_close(latents.flatten(0, 1).mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(latents.flatten(0, 1).std(0), torch.ones(2))
    torch.testing.assert_close(model.dynamics.delta_std, latents.diff(dim=1).flatten(0, 1).std(0))
    torch.testing.assert_close(model.dynamics.action_std, moved.actions.flatten(0, 1).std(0))


def test_predictions_do_not_depend_on_the_units_of_the_data(trajectories):
    predictions = []
    for scale in (1.0, 100.0):
        torch.manual_seed(0)
        model = LearnedWorldModel(StateEncoder(2), MLPDynamics(2, 2, hidden_dim=8))
        data = Trajectories(scale * trajectories.states, scale * trajectories.actions)
        model.fit_normalization(data)
        latents = model.rollout(model.encode(data.states[:, 0]), data.actions)
        predictions.append(model.decode(latents) / scale)
    torch.testing.assert_close(*predictions, atol=1e-4, rtol=1e-3)


def test_a_coordinate_that_never_changes_is_encoded_and_decoded(trajectories):
    frozen = Trajectories(torch.cat((trajectories.states, torch.full((20, 16, 1), 7.0)), -1), trajectories.actions)
    model = LearnedWorldModel(StateEncoder(3), MLPDynamics(3, 2))
    model.fit_normalization(frozen)
    states = frozen.states[:, 0]
    assert model.encode(states).isfinite().all()
    torch.testing.assert_close(model.decode(model.encode(states)), states)
    assert model.loss(Window(*frozen)).isfinite()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_gradients_and_mode_are_restored_also_after_a_failure(half_frozen, training, fails):
    half_frozen.train(training)
    try:
        with frozen(half_frozen):
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert fails
    assert all(module.training == training for module in half_frozen.modules())
    needed = {name: parameter.requires_grad for name, parameter in half_frozen.named_parameters()}
    assert needed == {"gain": True, "encoder.0.weight": True, "encoder.0.bias": False}


def test_a_part_in_evaluation_mode_stays_in_it(half_frozen):
    half_frozen.encoder.eval()
    with frozen(half_frozen):
        pass
    assert half_frozen.training
    assert not half_frozen.encoder.training


@pytest.fixture
def compiler():
    """Resets the compiler after the test."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 2, 20])
def test_a_compiled_model_predicts_and_differentiates_as_it_did_before(ensemble, trajectories, compiler, rows):
    compiled = deepcopy(ensemble)
    compiled.compile_step()
    start, actions = trajectories.states[:rows, 0], trajectories.actions[:rows]
    found = []
    for model in (ensemble, compiled):
        with frozen(model):
            plan = actions.clone().requires_grad_()
            latents = model.rollout(model.encode(start), plan)
            found.append((latents.detach(), *torch.autograd.grad(latents[:, -1].square().sum(), plan)))
            found[-1] += (model.step(model.encode(start), actions[:, 0]),)
    for before, after in zip(*found):
        torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("message", ["no g++", ""])
@pytest.mark.parametrize("when", ["at once", "at the first call"])
def test_a_missing_compiler_is_reported(ensemble, monkeypatch, when, message):
    def fail(*_):
        raise RuntimeError(message)

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fail() if when == "at once" else fail)
    with pytest.raises(
        UserError, match=rf"RuntimeError.*{message}.*install a C\+\+ compiler .* leave out compile=true"
    ):
        ensemble.compile_step()
