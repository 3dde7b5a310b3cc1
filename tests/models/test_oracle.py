import pytest
import torch

from gapclose.data.trajectories import Window
from gapclose.envs.wall import Wall
from gapclose.models.oracle import OracleWorldModel, TrueDynamics


@pytest.fixture
def oracle(wall):
    return OracleWorldModel(wall)


def test_the_rollout_of_the_oracle_equals_that_of_the_simulator(oracle, wall, trajectories):
    start, actions = trajectories.states[:, 0], 3 * trajectories.actions
    latents = oracle.rollout(oracle.encode(start), actions)
    assert latents.shape == (20, 16, 1, 2)
    assert torch.equal(oracle.decode(latents), wall.rollout(start, actions))


def test_a_rollout_equals_repeated_steps(oracle, trajectories):
    latent = oracle.encode(trajectories.states[:, 0])
    latents = oracle.rollout(latent, trajectories.actions)
    for t, action in enumerate(trajectories.actions.unbind(1)):
        latent = oracle.step(latent, action)
        assert torch.equal(latents[:, t + 1], latent)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_decoding_inverts_encoding_for_any_number_of_tasks(oracle, n):
    states = torch.randn(n, 2)
    assert oracle.encode(states).shape == (n, 1, 2)
    assert torch.equal(oracle.decode(oracle.encode(states)), states)


def test_the_oracle_makes_no_error_on_expert_data(oracle, trajectories):
    assert oracle.one_step_error(Window(*trajectories)) == 0


def test_gradients_pass_through_the_oracle(oracle):
    actions = torch.zeros(1, 5, 2, requires_grad=True)
    oracle.rollout(oracle.encode(torch.tensor([[1.0, 1.0]])), actions)[:, -1].sum().backward()
    assert torch.equal(actions.grad, torch.ones(1, 5, 2))


def test_the_oracle_cannot_be_trained(oracle, trajectories):
    assert not list(oracle.parameters())
    with pytest.raises(NotImplementedError, match="no parameters"):
        oracle.loss(Window(*trajectories))


def test_the_true_dynamics_equal_the_simulator_in_the_latents_of_a_model(wall, ensemble, trajectories):
    truth = TrueDynamics(wall, ensemble)
    states, actions = trajectories.states[:, 0], 3 * trajectories.actions
    latents = truth.rollout(truth.encode(states), actions)
    assert latents.shape == (20, 16, 1, 2)
    true = wall.rollout(states, actions)
    torch.testing.assert_close(truth.decode(latents), true, atol=1e-5, rtol=0)
    torch.testing.assert_close(latents[:, 1], truth.step(truth.encode(states), actions[:, 0]))
    torch.testing.assert_close(latents[:, -1, 0], ensemble.encode(true[:, -1])[:, 0], atol=1e-5, rtol=0)


def test_the_true_dynamics_encode_the_observations_of_the_simulator(point_model, trajectories):
    class Doubled(Wall):
        def observe(self, state):
            return 2 * state

    class Halving(point_model):
        def decode(self, latent):
            return super().decode(latent) / 2

    truth, states, actions = TrueDynamics(Doubled(), Halving()), trajectories.states, trajectories.actions
    latents = truth.rollout(truth.encode(2 * states[:, 0]), actions)
    torch.testing.assert_close(latents.squeeze(2), 2 * states, atol=1e-5, rtol=0)
    torch.testing.assert_close(truth.step(latents[:, 0], actions[:, 0]), latents[:, 1])


def test_oracle_and_true_dynamics_are_differentiable_if_the_simulator_is(wall, engine, ensemble):
    assert OracleWorldModel(wall).differentiable
    assert TrueDynamics(wall, ensemble).differentiable
    assert not OracleWorldModel(engine).differentiable
    assert not TrueDynamics(engine, ensemble).differentiable
