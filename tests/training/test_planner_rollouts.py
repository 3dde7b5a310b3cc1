from functools import partial
from types import SimpleNamespace

import pytest
import torch
from lightning import Callback
from pydantic import ValidationError
from torch.optim.lr_scheduler import StepLR

from gapclose.data.replay import ReplayBuffer
from gapclose.errors import UserError
from gapclose.planning import objective as objectives
from gapclose.planning.gradient import GradientPlanner
from gapclose.planning.objective import Disagreement, GoalDistance, Objective
from gapclose.training.planner_rollouts import PlannerRollouts
from gapclose.training.teacher_forcing import TeacherForcing

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*isinstance")


def rollouts_of(wall, replay, weight=30.0, **settings):
    planner = GradientPlanner(action_low=wall.action_low, action_high=wall.action_high, horizon=15, iterations=2)
    objective = Objective(dict(goal=GoalDistance(), disagreement=Disagreement(weight)))
    return PlannerRollouts(wall, planner, objective, replay, **dict(seed=0, plans_per_epoch=3) | settings)


def module_of(world_model):
    optimizer = partial(torch.optim.Adam, lr=0.01)
    return TeacherForcing(world_model, optimizer=optimizer, scheduler=partial(StepLR, step_size=1))


def test_every_epoch_adds_the_executed_trajectories_and_their_results(fit, ensemble, trajectories, wall):
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
    median, worst = (rollouts.history[1][f"world_model_error_{name}"] for name in ("median", "q90"))
    assert 0 < median <= worst
    assert 0 <= rollouts.history[1]["left_world_rate"] <= 1


def test_the_success_rate_is_not_rounded_to_single_precision(fit, ensemble, trajectories, wall, monkeypatch):
    monkeypatch.setattr(wall, "success", lambda state, _: torch.arange(len(state)) == 0)
    replay = ReplayBuffer()
    rollouts = rollouts_of(wall, replay)
    fit(module_of(ensemble), trajectories, 1, callbacks=[rollouts], replay=replay)
    assert rollouts.history[0]["success_rate"] == 1 / 3


def test_an_automatic_weight_is_calibrated_each_epoch_with_the_current_model_on_validation_data(
    fit, ensemble, trajectories, wall, monkeypatch
):
    seen, calibrate = [], objectives.Disagreement.calibrated

    def noted(self, world_model, held_out):
        weights = [parameter.detach().clone() for parameter in world_model.parameters()]
        assert torch.equal(held_out.states, trajectories.subset(slice(16, 18)).pieces(7).states)
        seen.append((weights, calibrate(self, world_model, held_out)))
        return seen[-1][1]

    monkeypatch.setattr(objectives.Disagreement, "calibrated", noted)
    replay = ReplayBuffer()
    rollouts = rollouts_of(wall, replay, "auto")
    rollouts.planner.horizon = 7  # The trajectories have 15 steps.
    fit(module_of(ensemble), trajectories, callbacks=[rollouts], replay=replay)
    (first, early), (second, late) = seen
    assert not all(torch.equal(a, b) for a, b in zip(first, second))
    assert early.weight != late.weight
    # Calibration returns a copy, so the next epoch calibrates again.
    assert rollouts.objective.terms["disagreement"].automatic


def test_equal_seeds_give_equal_plans(fit, ensemble, trajectories, wall):
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


def test_a_buffer_too_small_for_a_plan_is_refused(wall):
    with pytest.raises(UserError, match="capacity is 14, less than one plan of 15 steps"):
        rollouts_of(wall, ReplayBuffer(14))


def test_the_history_is_restored_from_a_checkpoint(wall):
    first, second = (rollouts_of(wall, ReplayBuffer()) for _ in range(2))
    first.history = [{"epoch": 0, "success_rate": 0.5, "simulator_steps": 45}]
    second.load_state_dict(first.state_dict())
    assert second.history == first.history
    assert second.simulator_steps == 45


def run(fit, world_model, trajectories, wall, epochs=3, exponent=0.0, window=1, callbacks=(), **settings):
    """Rollouts and buffer after some epochs."""
    replay = ReplayBuffer(priority_exponent=exponent)
    rollouts = rollouts_of(wall, replay, **settings)
    callbacks = [rollouts, *callbacks]
    fit(
        module_of(world_model),
        trajectories,
        epochs,
        callbacks=callbacks,
        replay=replay,
        window=window,
        replay_ratio=0.5,
    )
    return rollouts, replay


@pytest.mark.parametrize(("budget", "plans"), [(None, [3, 3, 3]), (45, [3]), (80, [3, 2]), (134, [3, 3, 2]), (15, [1])])
def test_the_last_epoch_within_the_step_limit_makes_as_many_whole_plans_as_fit(
    fit, ensemble, trajectories, wall, budget, plans
):
    trained = []

    class Steps(Callback):
        def on_train_batch_end(self, trainer, *_):
            trained.append(trainer.current_epoch)

    rollouts, replay = run(fit, ensemble, trajectories, wall, max_simulator_steps=budget, callbacks=[Steps()])
    assert [entry["simulator_steps"] for entry in rollouts.history] == [15 * n for n in plans]
    assert rollouts.simulator_steps == 15 * sum(plans) <= (budget or 15 * 9)
    assert len(replay) == sum(plans)
    assert [trained.count(epoch) for epoch in range(3)] == [15, 15, 15], "training continues"


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize(("budget", "plans"), [(None, {1: 3, 2: 4, 4: 4}), (45, {1: 3, 2: 2, 4: 0})])
def test_processes_make_equal_shares_of_the_affordable_plans(wall, processes, budget, plans):
    rollouts = rollouts_of(wall, ReplayBuffer(), max_simulator_steps=budget)
    assert rollouts.affordable_plans(processes) == plans[processes]


def test_a_step_limit_below_one_plan_is_refused(wall):
    with pytest.raises(UserError, match="max_simulator_steps is 14, less than one plan of 15 steps"):
        rollouts_of(wall, ReplayBuffer(), max_simulator_steps=14)


def test_a_step_limit_below_one_plan_per_process_is_refused(wall):
    rollouts = rollouts_of(wall, ReplayBuffer(), max_simulator_steps=45)
    rollouts.setup(SimpleNamespace(world_size=3), None, "fit")
    with pytest.raises(UserError, match="less than one plan of 15 steps for each of 4 processes; give at least 60"):
        rollouts.setup(SimpleNamespace(world_size=4), None, "fit")


def test_unknown_tasks_are_refused(wall):
    with pytest.raises(ValidationError, match="'random', 'dataset' or 'failures'"):
        rollouts_of(wall, ReplayBuffer(), tasks="hard")


def test_without_aggregation_the_buffer_holds_only_the_last_plans(fit, ensemble, trajectories, wall):
    _, everything = run(fit, ensemble, trajectories, wall, epochs=1)
    first = everything.trajectories.states[:, 0].clone()
    _, replay = run(fit, ensemble, trajectories, wall, epochs=2, aggregate=False)
    assert len(replay) == 3
    assert not torch.isin(replay.trajectories.states[:, 0], first).any()
    _, kept = run(fit, ensemble, trajectories, wall, epochs=2, aggregate=False, max_simulator_steps=45)
    assert torch.equal(kept.trajectories.states[:, 0], first), "no new plans, nothing emptied"


def test_with_dataset_tasks_plans_start_from_states_of_the_data(fit, ensemble, trajectories, wall):
    _, replay = run(fit, ensemble, trajectories, wall, tasks="dataset")
    starts = {tuple(state.tolist()) for state in trajectories.states[:16, 0]}
    assert {tuple(state.tolist()) for state in replay.trajectories.states[:, 0]} <= starts


def test_failed_tasks_are_planned_again_and_only_new_ones_count(fit, ensemble, trajectories, wall, monkeypatch):
    monkeypatch.setattr(type(wall), "success", lambda self, state, goal: state[..., 0] > 1e9)
    rollouts, replay = run(fit, ensemble, trajectories, wall, tasks="failures", plans_per_epoch=4)
    starts = replay.trajectories.states[:, 0].unflatten(0, (3, 4))
    assert all(start.tolist() in starts[0].tolist() for start in starts[1][:2])
    assert len(starts.flatten(0, 1).unique(dim=0)) == 4 + 2 + 2
    assert len(rollouts.tasks.pool.start) == 8
    goals = rollouts.tasks.pool.goal
    # The two newest tasks in the pool are the new ones of the last epoch, and only their distances are logged.
    ends = replay.trajectories.states[-2:, -1]
    assert rollouts.history[-1]["goal_distance"] == pytest.approx(wall.distance(ends, goals[-2:]).mean().item())


def test_priorities_are_updated_each_epoch_with_the_errors_of_the_current_model(fit, ensemble, trajectories, wall):
    seen = []

    class Watch(Callback):
        def on_train_batch_start(self, trainer, module, batch, index):
            if index == 0:
                replay = trainer.datamodule.replay
                windows = replay.trajectories.windows(torch.arange(len(replay) * 15), 1)
                predicted = ensemble.decode(ensemble.step(ensemble.encode(windows.states[:, 0]), windows.actions[:, 0]))
                errors = (predicted - windows.states[:, 1]).square().mean(-1).detach().double()
                expected = (errors / errors.mean() + 0.01) ** 0.7
                torch.testing.assert_close(replay.window_weights(1), expected)
                seen.append(expected)

    run(fit, ensemble, trajectories, wall, exponent=0.7, max_simulator_steps=90, callbacks=[Watch()])
    assert [len(weights) for weights in seen] == [45, 90, 90]
    assert not torch.equal(seen[1], seen[2]), "the model has learned, though no plans were added"


@pytest.mark.parametrize("window", [1, 3])
def test_prioritised_windows_of_any_length_reach_the_model(fit, ensemble, trajectories, wall, window, monkeypatch):
    drawn = []
    encode = type(ensemble).encode_window
    monkeypatch.setattr(type(ensemble), "encode_window", lambda self, batch: drawn.append(batch) or encode(self, batch))
    weights = {name: value.clone() for name, value in ensemble.state_dict().items()}
    batches = []
    for exponent in (0.0, 2.0, 2.0):
        ensemble.load_state_dict(weights)
        drawn.clear()
        run(fit, ensemble, trajectories, wall, 1, exponent, window)
        batches.append(torch.stack([batch.states for batch in drawn]))
    assert batches[0].shape == (15, 16, window + 1, 2)
    assert torch.equal(batches[1], batches[2])
    assert torch.equal(batches[0][:, :8], batches[1][:, :8]), "the expert's windows come in the same order"
    assert not torch.equal(batches[0][:, 8:], batches[1][:, 8:])
