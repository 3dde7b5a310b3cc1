import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gapclose.models.dynamics.mlp import MLPDynamics


def one_member(dynamics, m, latent, action):
    """The equation in the docstring, for one member and without batching over members."""
    octaves = (dynamics.weights[0].shape[1] - action.shape[1]) // latent.shape[1] // 2
    phases = [2**octave * x for x in latent.split(1, -1) for octave in range(octaves)]
    waves = [wave(phase) for wave in (torch.sin, torch.cos) for phase in phases]
    hidden = torch.cat((latent, *waves, (action - dynamics.action_mean) / dynamics.action_std), -1)
    layers = list(zip(dynamics.weights, dynamics.biases))
    for number, (weight, bias) in enumerate(layers):
        hidden = hidden @ weight[m] + bias[m, 0]
        if number < len(layers) - 1:
            hidden = hidden * torch.sigmoid(hidden)
    return latent + dynamics.delta_std * hidden


@given(
    *[st.integers(1, 4), st.integers(1, 3), st.integers(1, 9), st.integers(1, 3), st.integers(1, 4), st.integers(0, 3)],
    st.integers(1, 5),
)
def test_the_batched_network_equals_the_members_one_by_one(latent_dim, action_dim, width, layers, members, octaves, n):
    torch.manual_seed(0)
    dynamics = MLPDynamics(latent_dim, action_dim, width, layers, members, octaves)
    dynamics.fit_normalization(3 * torch.randn(20, latent_dim), 1 + 2 * torch.randn(20, action_dim))
    latent, action = torch.randn(n, members, latent_dim), torch.randn(n, action_dim)
    after = dynamics(latent, action)
    assert after.shape == latent.shape
    for m in range(members):
        torch.testing.assert_close(after[:, m], one_member(dynamics, m, latent[:, m], action))


@pytest.mark.parametrize("members", [1, 4])
@pytest.mark.parametrize("trained", [True, False], ids=["trained", "frozen"])
def test_a_rollout_and_its_gradients_equal_those_of_repeated_steps(members, trained):
    torch.manual_seed(0)
    dynamics = MLPDynamics(3, 2, hidden_dim=16, num_layers=2, members=members).double().requires_grad_(trained)
    dynamics.fit_normalization(3 * torch.randn(20, 3).double(), 1 + 2 * torch.randn(20, 2).double())
    latent = torch.randn(5, members, 3).double().requires_grad_()
    actions = torch.randn(5, 7, 2).double().requires_grad_()
    by_hand = [latent]
    for action in actions.unbind(1):
        by_hand.append(dynamics(by_hand[-1], action))
    by_hand, latents = torch.stack(by_hand, 1), dynamics.rollout(latent, actions)
    assert latents.shape == (5, 8, members, 3)
    torch.testing.assert_close(latents, by_hand)
    inputs = [latent, actions, *(dynamics.parameters() if trained else [])]
    upstream = torch.randn_like(latents)
    for got, expected in zip(*(torch.autograd.grad((x * upstream).sum(), inputs) for x in (latents, by_hand))):
        torch.testing.assert_close(got, expected)


def test_fourier_features_learn_changes_over_short_distances():
    def error(octaves):
        torch.manual_seed(0)
        dynamics = MLPDynamics(1, 1, hidden_dim=32, num_layers=2, octaves=octaves)
        latent = torch.linspace(-2, 2, 200).view(-1, 1, 1)
        walls, none = (latent % 0.5 < 0.1).float(), torch.zeros(200, 1)
        optimizer = torch.optim.Adam(dynamics.parameters(), 0.003)
        for _ in range(300):
            loss = dynamics.errors(dynamics(latent, none), latent + walls).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    assert error(octaves=4) < 0.5 * error(octaves=0)


@given(st.floats(-9, 9), st.floats(0.1, 5))
def test_errors_count_squared_up_to_huber_delta_and_linearly_beyond(error, delta):
    squared, huber = MLPDynamics(1, 1), MLPDynamics(1, 1, huber_delta=delta)
    for dynamics in (squared, huber):
        dynamics.fit_normalization(torch.tensor([[-2.0], [2.0]]), torch.zeros(2, 1))
    prediction = torch.full((1, 1, 1), error, dtype=torch.float64, requires_grad=True)
    size = abs(error) / squared.delta_std.item()
    assert squared.errors(prediction, 0 * prediction.detach()).item() == pytest.approx(size**2)
    cost = huber.errors(prediction, torch.zeros_like(prediction))
    assert cost.item() == pytest.approx(size**2 if size <= delta else 2 * delta * size - delta**2)


def test_a_network_has_the_configured_layers():
    dynamics = MLPDynamics(latent_dim=3, action_dim=2, hidden_dim=7, num_layers=4, members=5)
    assert [tuple(weight.shape) for weight in dynamics.weights] == [(5, 5, 7), *[(5, 7, 7)] * 3, (5, 7, 3)]
    assert [tuple(bias.shape) for bias in dynamics.biases] == [(5, 1, 7)] * 4 + [(5, 1, 3)]


def test_members_differ_and_learn_independently():
    torch.manual_seed(0)
    dynamics = MLPDynamics(2, 2, hidden_dim=8, members=3)
    latent, action = torch.randn(4, 1, 2).expand(-1, 3, -1), torch.randn(4, 2)
    after = dynamics(latent, action)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert ((after[:, a] - after[:, b]).abs() > 1e-4).any()
        assert all((parameter[a] != parameter[b]).all() for parameter in dynamics.parameters())
    after[:, 1].square().sum().backward()
    for parameter in dynamics.parameters():
        assert parameter.grad[1].abs().sum() > 0
        assert parameter.grad[[0, 2]].abs().sum() == 0


def test_initial_weights_are_those_of_a_linear_layer():
    torch.manual_seed(0)
    dynamics = MLPDynamics(10, 6, hidden_dim=64, num_layers=2, members=8)
    for weight, bias, fan_in in zip(dynamics.weights, dynamics.biases, (16, 64, 64)):
        for parameter in (weight, bias):
            assert parameter.abs().max() <= fan_in**-0.5
            assert parameter.abs().max() > 0.9 * fan_in**-0.5
            assert parameter.mean().abs() < 0.1 * fan_in**-0.5


def test_normalisation_is_fitted_to_the_data():
    dynamics = MLPDynamics(2, 3)
    deltas = torch.randn(500, 2) * torch.tensor([0.1, 7.0]) + 5
    actions = torch.randn(500, 3) * torch.tensor([1.0, 2.0, 0.5]) - 1
    dynamics.fit_normalization(deltas, actions)
    torch.testing.assert_close(dynamics.delta_std, deltas.std(0))
    torch.testing.assert_close(dynamics.action_mean, actions.mean(0))
    torch.testing.assert_close(dynamics.action_std, actions.std(0))


def test_a_coordinate_that_never_changes_does_not_make_predictions_infinite():
    dynamics = MLPDynamics(2, 2)
    dynamics.fit_normalization(torch.ones(10, 2), torch.zeros(10, 2))
    latent = torch.randn(4, 1, 2)
    assert dynamics(latent, torch.zeros(4, 2)).isfinite().all()


def test_the_normalisation_is_saved_with_the_weights_and_is_not_trained():
    fitted, restored = MLPDynamics(2, 2), MLPDynamics(2, 2)
    fitted.fit_normalization(torch.randn(9, 2), torch.randn(9, 2))
    restored.load_state_dict(fitted.state_dict())
    latent, action = torch.randn(4, 1, 2), torch.randn(4, 2)
    assert torch.equal(restored(latent, action), fitted(latent, action))
    assert {name.split(".")[0] for name, _ in fitted.named_parameters()} == {"weights", "biases"}


@pytest.mark.parametrize("name", ["latent_dim", "action_dim", "hidden_dim", "num_layers", "members"])
@pytest.mark.parametrize("value", [0, -1, 1.5])
def test_impossible_sizes_are_refused_by_name(name, value):
    with pytest.raises(ValidationError, match=name):
        MLPDynamics(**{"latent_dim": 2, "action_dim": 2, name: value})
