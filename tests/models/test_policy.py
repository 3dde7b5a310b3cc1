import pytest
import torch
from pydantic import ValidationError

from gapclose.data.trajectories import Trajectories
from gapclose.models.policy import GoalConditionedPolicy

LOW, HIGH = torch.tensor([-0.25, 1.0]), torch.tensor([0.25, 3.0])


def policy_of(**settings):
    torch.manual_seed(0)
    return GoalConditionedPolicy(
        **dict(state_dim=2, action_low=LOW, action_high=HIGH, hidden_dim=8, num_layers=1) | settings
    )


@pytest.mark.parametrize("shape", [(5,), (4, 7)])
def test_the_policy_returns_an_action_for_every_state_and_goal(shape):
    states, goals = torch.randn(2, *shape, 3)
    assert policy_of(state_dim=3)(states, goals).shape == (*shape, 2)


def test_a_network_has_the_configured_layers():
    shapes = [tuple(weight.shape) for weight in policy_of(hidden_dim=7, num_layers=3).parameters() if weight.dim() == 2]
    assert shapes == [(7, 4), (7, 7), (7, 7), (2, 7)]


def test_the_loss_is_in_units_of_half_the_action_range():
    policy = policy_of()
    for parameter in policy.parameters():
        torch.nn.init.zeros_(parameter)  # The policy always returns the middle of the bounds: (0, 2).
    state, goal = torch.randn(2, 2, 2)
    assert policy.loss(state, goal, torch.tensor([[0.0, 2.0], [0.0, 2.0]])) == 0
    assert policy.loss(state, goal, torch.stack((LOW, HIGH))) == 1
    assert policy.loss(state, goal, torch.tensor([[0.125, 2.0], [0.0, 2.0]])) == 0.25 / 4


def test_an_action_does_not_depend_on_the_units_of_the_data(trajectories):
    actions = []
    for scale, shift in ((1.0, 0.0), (100.0, 30.0)):
        policy = policy_of()
        data = Trajectories(scale * trajectories.states + shift, trajectories.actions)
        policy.fit_normalization(data)
        actions.append(policy(data.states[:, 0], data.states[:, -1]))
    torch.testing.assert_close(*actions, atol=1e-4, rtol=1e-3)


def test_normalisation_is_fitted_from_the_data_and_saved_with_the_weights(trajectories):
    fitted, restored = policy_of(), policy_of()
    fitted.fit_normalization(trajectories)
    states = trajectories.states.flatten(0, 1)
    torch.testing.assert_close(fitted.mean, states.mean(0))
    torch.testing.assert_close(fitted.std, states.std(0))
    restored.load_state_dict(fitted.state_dict())
    assert torch.equal(restored(states[:9], states[9:18]), fitted(states[:9], states[9:18]))


def test_a_coordinate_that_never_changes_does_not_make_actions_infinite(trajectories):
    policy = policy_of()
    frozen = Trajectories(torch.ones_like(trajectories.states), trajectories.actions)
    policy.fit_normalization(frozen)
    assert policy(frozen.states[:, 0], frozen.states[:, -1]).isfinite().all()


def test_the_loss_is_minimal_at_the_expert_that_made_the_data():
    """The expert goes a tenth of the way to its goal in each step, and the policy learns this law."""
    policy = policy_of(action_low=-torch.ones(2), action_high=torch.ones(2), hidden_dim=32)
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.01)
    for _ in range(400):
        state, goal = 2 * torch.rand(2, 128, 2) - 1
        optimizer.zero_grad()
        policy.loss(state, goal, 0.1 * (goal - state)).backward()
        optimizer.step()
    state, goal = 2 * torch.rand(2, 128, 2) - 1
    torch.testing.assert_close(policy(state, goal), 0.1 * (goal - state), atol=0.04, rtol=0)


@pytest.mark.parametrize("name", ["state_dim", "hidden_dim", "num_layers"])
@pytest.mark.parametrize("value", [0, -1, 1.5])
def test_impossible_sizes_are_refused_by_name(name, value):
    with pytest.raises(ValidationError, match=name):
        policy_of(**{name: value})
