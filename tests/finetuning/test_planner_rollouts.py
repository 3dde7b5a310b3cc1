from functools import partial

import pytest
import torch
from torch.optim.lr_scheduler import StepLR

from gapclose.data.replay import ReplayBuffer
from gapclose.errors import UserError
from gapclose.finetuning.planner_rollouts import PlannerRollouts
from gapclose.finetuning.teacher_forcing import TeacherForcing
from gapclose.planning import objective as objectives
from gapclose.planning.gradient import GradientPlanner
from gapclose.planning.objective import Disagreement, GoalDistance, Objective

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*isinstance")


def rollouts_of(wall, replay, weight=30.0, **settings):
    planner = GradientPlanner(action_low=wall.action_low, action_high=wall.action_high, horizon=15, iterations=2)
    objective = Objective(dict(goal=GoalDistance(), disagreement=Disagreement(weight)))
    return PlannerRollouts(wall, planner, objective, replay, **dict(seed=0, plans_per_epoch=3) | settings)


def module_of(world_model):
    optimizer = partial(torch.optim.Adam, lr=0.01)
    return TeacherForcing(world_model, optimizer=optimizer, scheduler=partial(StepLR, step_size=1))


def test_every_epoch_adds_what_really_happened_and_how_it_fared(fit, ensemble, trajectories, wall):
    replay = ReplayBuffer()
    rollouts = rollouts_of(wall, replay)
    trainer = fit(module_of(ensemble), trajectories, callbacks=[rollouts], replay=replay, replay_ratio=0.5)
    states, actions = replay.trajectories
    assert len(replay) == 2 * 3
    assert torch.equal(states, wall.rollout(states[:, 0], actions))
    assert len(states[:, 0].unique(dim=0)) == 6, "the tasks of each epoch are new ones"
    assert [entry["epoch"] for entry in rollouts.history] == [0, 1]
    assert rollouts.history[1]["goal_distance"] == pytest.approx(
        trainer.logged_metrics["rollouts/goal_distance"].item()
    )


def test_an_automatic_price_is_calibrated_each_epoch_with_the_current_model_on_validation_data(
    fit, ensemble, trajectories, wall, monkeypatch
):
    seen, calibrate = [], objectives.Disagreement.calibrated

    def noted(self, world_model, held_out):
        weights = [parameter.detach().clone() for parameter in world_model.parameters()]
        assert torch.equal(held_out.states, trajectories.states[16:18])
        seen.append((weights, calibrate(self, world_model, held_out)))
        return seen[-1][1]

    monkeypatch.setattr(objectives.Disagreement, "calibrated", noted)
    replay = ReplayBuffer()
    rollouts = rollouts_of(wall, replay, "auto")
    fit(module_of(ensemble), trajectories, callbacks=[rollouts], replay=replay)
    (first, early), (second, late) = seen
    assert not all(torch.equal(a, b) for a, b in zip(first, second))
    assert early.weight != late.weight
    # What is calibrated is a copy: the next epoch calibrates anew.
    assert rollouts.objective.terms["disagreement"].automatic


def test_equal_seeds_roll_out_equal_plans(fit, ensemble, trajectories, wall):
    def rolled_out(seed):
        replay = ReplayBuffer()
        fit(module_of(ensemble), trajectories, 1, callbacks=[rollouts_of(wall, replay, seed=seed)], replay=replay)
        return replay.trajectories

    weights = {name: value.clone() for name, value in ensemble.state_dict().items()}
    results = []
    for seed in (4, 4, 5):
        ensemble.load_state_dict(weights)
        torch.rand(seed)
        results.append(rolled_out(seed))
    assert torch.equal(results[0].actions, results[1].actions)
    assert not torch.equal(results[0].actions, results[2].actions)


def test_a_buffer_without_room_for_a_plan_is_refused(wall):
    with pytest.raises(UserError, match="capacity is 14, less than one plan of 15 steps"):
        rollouts_of(wall, ReplayBuffer(14))


def test_the_history_survives_a_checkpoint(wall):
    first, second = (rollouts_of(wall, ReplayBuffer()) for _ in range(2))
    first.history = [{"epoch": 0, "success_rate": 0.5}]
    second.load_state_dict(first.state_dict())
    assert second.history == first.history
