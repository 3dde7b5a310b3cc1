from functools import partial

import pytest
import torch
from torch.optim.lr_scheduler import StepLR

from gapclose.data.behaviours import Expert
from gapclose.data.collect import collect
from gapclose.data.trajectories import Window
from gapclose.models.policy import GoalConditionedPolicy
from gapclose.training.behaviour_cloning import BehaviourCloning


class Witness(GoalConditionedPolicy):
    """Records the arguments of its loss."""

    def __init__(self):
        super().__init__(state_dim=1, action_low=torch.tensor([-1.0]), action_high=torch.tensor([1.0]))
        self.shown = []

    def loss(self, state, goal, action):
        self.shown.append((state, goal, action))
        return super().loss(state, goal, action)


def module_of(policy):
    optimizer, scheduler = partial(torch.optim.Adam, lr=0.003), partial(StepLR, step_size=1, gamma=0.7)
    return BehaviourCloning(policy, optimizer=optimizer, scheduler=scheduler, name="policy")


@pytest.fixture
def window():
    """States encode trajectory and time, `10 i + t`, and the action in a state is a hundredth of it."""
    times = 10.0 * torch.arange(200)[:, None] + torch.arange(7)
    return Window(times[..., None], times[:, :-1, None] / 100)


def test_goals_are_later_states_of_the_same_window_and_the_target_is_the_action_at_the_start(window):
    torch.manual_seed(0)
    policy = Witness()
    module_of(policy).training_loss(window)
    state, goal, action = policy.shown[0]
    assert torch.equal(state, window.states[:, :-1])
    torch.testing.assert_close(action, state / 100)
    assert (goal > state).all()
    assert torch.equal(goal // 10, state // 10)


def test_every_later_state_becomes_a_goal_equally_often(window):
    torch.manual_seed(0)
    policy = Witness()
    for _ in range(10):
        module_of(policy).training_loss(window)
    ahead = torch.cat([(goal - state)[..., 0] for state, goal, _ in policy.shown]).long()
    for t in range(6):
        counts = ahead[:, t].bincount(minlength=7)[1:].float()
        assert counts[6 - t :].sum() == 0
        torch.testing.assert_close(counts[: 6 - t] / 2000, torch.full((6 - t,), 1 / (6 - t)), atol=0.04, rtol=0)


def test_in_a_window_of_one_step_the_goal_is_the_next_state():
    policy = Witness()
    module_of(policy).training_loss(Window(torch.tensor([[[3.0], [4.0]]]), torch.tensor([[[0.5]]])))
    state, goal, action = policy.shown[0]
    assert (state.item(), goal.item(), action.item()) == (3.0, 4.0, 0.5)


def test_the_expert_error_uses_the_end_of_the_trajectory_as_goal_and_no_random_numbers(window):
    policy = Witness()
    torch.manual_seed(0)
    error = module_of(policy).expert_error(window)
    untouched = torch.rand(()).item()
    torch.manual_seed(0)
    assert torch.rand(()).item() == untouched
    state, goal, action = policy.shown[0]
    assert torch.equal(goal, window.states[:, -1:].expand(-1, 6, -1))
    torch.testing.assert_close(error, policy.loss(state, goal, action))


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*isinstance")
def test_a_trained_policy_reaches_goals_in_the_simulator_and_an_untrained_one_does_not(fit, wall):
    data = collect(wall, Expert(0.1), num_trajectories=200, steps=30, seed=0)
    torch.manual_seed(0)
    policy = GoalConditionedPolicy(2, wall.action_low, wall.action_high, hidden_dim=64, num_layers=2)
    policy.fit_normalization(data)
    tasks = wall.sample_tasks(100, torch.Generator().manual_seed(1))

    @torch.no_grad()
    def success_rate():
        state = tasks.start
        for _ in range(30):
            state = wall.step(state, (policy.action_half_range * policy(state, tasks.goal)).clamp(-0.25, 0.25))
        return wall.success(state, tasks.goal).float().mean()

    before = success_rate()
    trainer = fit(module_of(policy), data, epochs=4, window=30, batch_size=32, steps_per_epoch=150)
    assert before < 0.1
    assert success_rate() > 0.5
    assert trainer.logged_metrics["policy/expert_error"] < 0.5
