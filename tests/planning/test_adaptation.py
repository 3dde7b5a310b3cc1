"""Adapting the model while it is planned with: what it learns, for whom, and what every planner makes of it."""

from copy import deepcopy

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from gapclose.data.trajectories import Window
from gapclose.envs.simulator import Tasks
from gapclose.envs.wall import Wall
from gapclose.errors import UserError
from gapclose.models.dynamics.dynamics import Dynamics
from gapclose.models.encoders.state import StateEncoder
from gapclose.models.oracle import OracleWorldModel
from gapclose.models.policy import GoalConditionedPolicy
from gapclose.models.world_model import LearnedWorldModel
from gapclose.planning.adaptation import GradientAdaptation
from gapclose.planning.initialization import PolicyRollouts
from gapclose.planning.mpc import MPC
from gapclose.planning.search import Search
from tests.planning.conftest import CAUTIOUS, EVERY_STEP, HIGH, LOW, make, plan, seeded, tasks


def observed(n=3, steps=4):
    """States `[N, L+1, 2]` and actions `[N, L, 2]` that no model predicts well, different for each task."""
    random = seeded(5)
    return torch.rand(n, steps + 1, 2, generator=random), HIGH * torch.rand(n, steps, 2, generator=random)


def errors(world_model, states, actions):
    """Squared errors `[N, L]` of single steps."""
    pairs = [(states[:, t], actions[:, t], states[:, t + 1]) for t in range(actions.shape[1])]
    predicted = [world_model.decode(world_model.step(world_model.encode(s), a)) - after for s, a, after in pairs]
    return torch.stack(predicted, 1).square().mean(-1).detach()


def adapted(ensemble, n=3, **settings):
    """The ensemble, adapted to what `n` tasks have observed."""
    adaptation = GradientAdaptation(**dict(steps=5, lr=0.01, memory=None) | settings)
    return adaptation.adapt(adaptation.start(ensemble, n), *observed(n))


def model_of(world_model, task):
    """The model of one task, as a separate model."""
    model = deepcopy(world_model.model)
    for name, parameter in model.dynamics.named_parameters():
        parameter.data.copy_(world_model.weights[name][task])
    return model


def test_adapting_lowers_the_error_on_what_was_observed(ensemble):
    before, after = errors(ensemble, *observed()), errors(adapted(ensemble, steps=20), *observed())
    assert (after.mean(1) < 0.8 * before.mean(1)).all()


@pytest.mark.parametrize("memory", [None, 2])
def test_each_task_adapts_as_it_would_alone(ensemble, memory):
    together, (states, actions) = adapted(ensemble, memory=memory), observed()
    for i in range(3):
        alone = deepcopy(ensemble)
        optimizer = torch.optim.Adam(alone.dynamics.parameters(), lr=0.01)
        first = 0 if memory is None else 4 - memory
        pairs = torch.stack((states[i, first:-1], states[i, first + 1 :]), 1)
        for _ in range(5):
            optimizer.zero_grad()
            alone.loss(Window(pairs, actions[i, first:, None])).backward()
            optimizer.step()
        for name, weight in alone.dynamics.named_parameters():
            torch.testing.assert_close(together.weights[name][i], weight.detach(), atol=2e-4, rtol=1e-3)


def test_the_observations_of_a_task_do_not_change_other_tasks(ensemble):
    states, actions = observed()
    adaptation = GradientAdaptation(steps=3)
    first = adaptation.adapt(adaptation.start(ensemble, 3), states, actions)
    states[1] += 1
    second = adaptation.adapt(adaptation.start(ensemble, 3), states, actions)
    for name, weight in first.weights.items():
        assert torch.equal(weight[[0, 2]], second.weights[name][[0, 2]])
        assert not torch.equal(weight[1], second.weights[name][1])


def test_adapting_does_not_change_its_arguments(ensemble):
    before, adaptation = deepcopy(ensemble.state_dict()), GradientAdaptation()
    start = adaptation.start(ensemble, 3)
    once = adaptation.adapt(start, *observed())
    weights = {name: weight.clone() for name, weight in once.weights.items()}
    twice = adaptation.adapt(once, *observed())
    for name, weight in weights.items():
        assert torch.equal(once.weights[name], weight)
        assert not torch.equal(twice.weights[name], weight)
        assert torch.equal(start.weights[name][0], before[f"dynamics.{name}"])
        assert not any(x.weights[name].requires_grad for x in (start, once, twice))
    assert all(torch.equal(now, before[name]) for name, now in ensemble.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in ensemble.parameters())


def test_the_oracle_has_nothing_to_adapt():
    with pytest.raises(UserError, match="oracle has nothing to adapt"):
        GradientAdaptation().start(OracleWorldModel(Wall()), 3)


@pytest.mark.parametrize("wrong", [dict(steps=-1), dict(steps=1.5), dict(lr=0), dict(lr=-1.0), dict(memory=0)], ids=str)
def test_impossible_settings_are_refused_by_name(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        GradientAdaptation(**wrong)


def init_of_policy():
    init = PolicyRollouts()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        init.policy = GoalConditionedPolicy(2, LOW, HIGH, hidden_dim=4)
    return init


@pytest.mark.parametrize("init", [None, init_of_policy()], ids=["own init", "policy"])
def test_every_planner_plans_with_the_weights_of_each_task(ensemble, kind, init):
    planner = make(kind, **(dict(init=init) if init else {}))
    world_model = adapted(ensemble, n=4, lr=0.1)
    made, (start, goal) = plan(planner, world_model, CAUTIOUS), tasks()
    for i in range(4):
        one = slice(i, i + 1)
        alone = planner.plan(model_of(world_model, i), CAUTIOUS, start[one], goal[one], generator=seeded())
        torch.testing.assert_close(made.cost[one], alone.cost, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(made.actions[one], alone.actions, rtol=0, atol=1e-3)


def test_planning_with_an_unadapted_copy_equals_planning_with_the_original(ensemble, kind):
    made = plan(make(kind), adapted(ensemble, n=4, steps=0), CAUTIOUS)
    torch.testing.assert_close(made.actions, plan(make(kind), ensemble, CAUTIOUS).actions, rtol=0, atol=1e-3)


@pytest.mark.parametrize("rows_at_once", [1, 3, 7, 20, 10_000])
def test_scores_and_gradients_of_adapted_models_do_not_depend_on_the_batch_size(ensemble, monkeypatch, rows_at_once):
    world_model, (start, goal) = adapted(ensemble, n=4), (ensemble.encode(x) for x in tasks())
    candidates = 2 * torch.rand(4, 5, 6, 2, generator=seeded()) - 1
    latents, targets = torch.randn(2, 4, 5, 3, 2, generator=seeded())

    def found(model, rows):
        planner = make("cem")
        search = Search(model, CAUTIOUS, start[rows], goal[rows], 6, planner.bounds, planner.budget)
        search.best_cost[0] = -1.0  # The first is finished, so that tasks and the numbers of their weights differ.
        search.budget = search.budget._replace(target_cost=0.0)
        pulled = search.step_gradient(latents[rows], candidates[rows, :, 0], targets[rows])
        return [*search.costs_and_gradients(candidates[rows]), search.score(candidates[rows]), *pulled]

    whole = found(world_model, slice(None))
    for i in range(1, 4):
        pair = torch.tensor([0, i])
        for of_all, alone in zip(whole, found(model_of(world_model, i), pair)):
            torch.testing.assert_close(of_all[i], alone[1], rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(Search, "rows_at_once", lambda self, gradients: rows_at_once)
    for parts, expected in zip(found(world_model, slice(None)), whole):
        torch.testing.assert_close(parts, expected)


class Wind(Wall):
    """A wind that blows to the right in the upper half of the arena and to the left in the lower half."""

    def step(self, state, action):
        return super().step(state, action) + 0.15 * state[:, 1:].sign() * torch.tensor([1.0, 0.0])


class Drift(nn.Module):
    """`z' = z + a + b`: the wind `b` has to be learned."""

    members = context = 1
    huber_delta, errors = None, Dynamics.errors

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(2))
        self.register_buffer("delta_std", torch.ones(2))

    def forward(self, latent, action):
        return latent + action.unsqueeze(1) + self.bias

    def rollout(self, latent, actions):
        latents = [latent]
        for action in actions.unbind(1):
            latents.append(self(latents[-1], action))
        return torch.stack(latents, 1)


def in_the_wind(adaptation):
    """Two tasks with opposite winds, to the right of the wall."""
    start, goal = torch.tensor([[[0.9, 0.5], [1.1, -0.5]], [[0.9, 1.5], [1.1, -1.5]]])
    wind = Wind(action_max=0.25, success_radius=0.05)
    planner = make("gradient", wind.action_low, wind.action_high, horizon=6, iterations=20, lr=0.2)
    world_model = LearnedWorldModel(StateEncoder(2), Drift())
    mpc = MPC(planner, replan_every=3, max_steps=30, horizon="fixed", adaptation=adaptation)
    return mpc.execute(wind, world_model, EVERY_STEP, Tasks(start, goal), seeded())


def test_adaptation_reaches_goals_where_the_model_is_wrong_in_a_different_way_for_each_task():
    without, adapted_ = in_the_wind(None), in_the_wind(GradientAdaptation(steps=30, lr=0.03))
    wind = Wind(success_radius=0.05)
    assert not wind.success(without.states[:, -1], without.tasks.goal).any()
    assert wind.success(adapted_.states[:, -1], adapted_.tasks.goal).all()


def test_imagined_states_are_those_of_the_adapted_model():
    execution = in_the_wind(GradientAdaptation(steps=100, lr=0.03))
    error = execution.squared_errors()
    assert error[:, :3].min() > 0.001
    assert error[:, 3:].nanmean() < 0.01 * error[:, :3].mean()
