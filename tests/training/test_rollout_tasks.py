import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gapclose.envs.simulator import Tasks
from gapclose.envs.wall import Wall
from gapclose.seeds import generator
from gapclose.training.rollout_tasks import DatasetTasks, FailedTasks, RandomTasks


def equal(these, those):
    return all(torch.equal(a, b) for a, b in zip(these, those))


def test_random_tasks_are_drawn_by_the_simulator(wall, trajectories):
    tasks, new = RandomTasks(wall, 5).draw(7, generator(0), trajectories)
    assert equal(tasks, wall.sample_tasks(7, generator(0)))
    assert new.tolist() == 7 * [True]


@pytest.mark.parametrize("horizon", [4, 15, 30])
def test_goals_of_dataset_tasks_are_one_horizon_later_in_the_data(wall, trajectories, horizon):
    tasks, new = DatasetTasks(wall, horizon).draw(50, generator(1), trajectories)
    steps = min(horizon, 15)
    pairs = {
        (*trajectory[t].tolist(), *trajectory[t + steps].tolist())
        for trajectory in trajectories.states
        for t in range(16 - steps)
    }
    drawn = [(*start.tolist(), *goal.tolist()) for start, goal in zip(*tasks)]
    assert set(drawn) <= pairs
    assert len(set(drawn)) > 10
    assert new.all()


@given(st.lists(st.tuples(st.integers(1, 9), st.floats(0, 1)), max_size=6), st.integers(0, 99))
def test_up_to_half_of_the_tasks_have_failed_before_and_the_pool_holds_the_failed_tasks(rounds, seed):
    """Compared with an independent implementation by sets of task coordinates."""
    source, failed, ever = FailedTasks(Wall(), 5), set(), set()
    for number, (n, rate) in enumerate(rounds):
        tasks, new = source.draw(n, generator(seed, number), None)
        drawn = [(*start.tolist(), *goal.tolist()) for start, goal in zip(*tasks)]
        again = {task for task, fresh in zip(drawn, new.tolist()) if not fresh}
        assert len(drawn) == len(set(drawn)) == n
        assert len(again) == min(n // 2, len(failed))
        assert again <= failed
        assert not (set(drawn) - again) & ever
        success = torch.rand(n, generator=generator(seed, number, "success")) < rate
        source.record(tasks, success)
        failed = failed - set(drawn) | {task for task, done in zip(drawn, success.tolist()) if not done}
        ever |= set(drawn)
        assert {(*start.tolist(), *goal.tolist()) for start, goal in zip(*source.pool)} == failed
        assert len(source.pool.start) == len(failed)


def test_the_pool_is_restored_from_a_checkpoint(wall, tmp_path):
    source, restored = FailedTasks(wall, 5), FailedTasks(wall, 5)
    tasks, _ = source.draw(6, generator(0), None)
    source.record(tasks, torch.tensor([True, False] * 3))
    torch.save(source.state_dict(), tmp_path / "state.ckpt")
    restored.load_state_dict(torch.load(tmp_path / "state.ckpt", weights_only=True))
    assert equal(restored.pool, Tasks(*(states[1::2] for states in tasks)))
    assert equal(restored.draw(4, generator(1), None)[0], source.draw(4, generator(1), None)[0])
