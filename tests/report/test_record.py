import numpy as np
import pytest
import torch

from gapclose.errors import UserError
from gapclose.report.record import PLANS, Plans, World, example_task, read_arrays, read_plans, write_plans
from tests.report.conftest import executed


def test_plans_are_read_as_they_were_written(tmp_path, wall):
    execution = executed(wall, ghost=True)
    write_plans(tmp_path / PLANS, {"oracle": {"mpc": execution}, "baseline": {"open_loop": execution}}, wall)
    world, plans = read_plans(tmp_path / PLANS)
    assert list(plans) == ["baseline", "oracle"]
    found = plans["baseline"]["open_loop"]
    np.testing.assert_array_equal(found.states, execution.states.numpy())
    np.testing.assert_array_equal(found.imagined, execution.imagined.numpy())
    assert found.success.tolist() == [False, False, False, True]
    assert found.states.dtype == np.float32
    assert world.success_radius == np.float32(0.25)
    np.testing.assert_array_equal(world.goal, execution.tasks.goal.numpy())
    assert not list(tmp_path.glob(".*"))


def test_figures_are_read_if_the_simulator_has_any(tmp_path, wall, flagged):
    for simulator in (wall, flagged):
        execution = executed(simulator, ghost=True)
        write_plans(tmp_path / PLANS, {"baseline": {"open_loop": execution}}, simulator)
        world, plans = read_plans(tmp_path / PLANS)
        found = plans["baseline"]["open_loop"]
        if simulator is wall:
            assert found.figures is found.imagined_figures is world.goal_figure is None
            assert not any("figure" in name for name in read_arrays(tmp_path / PLANS))
        else:
            np.testing.assert_allclose(found.figures, simulator.figure(execution.states).numpy(), atol=2e-3)
            np.testing.assert_allclose(found.imagined_figures, simulator.figure(execution.imagined).numpy(), atol=2e-3)
            np.testing.assert_allclose(world.goal_figure, simulator.figure(execution.tasks.goal).numpy(), atol=2e-3)


def test_a_damaged_or_pickled_file_is_an_error_in_one_sentence(tmp_path):
    (tmp_path / "damaged.npz").write_bytes(b"PK nothing")
    np.savez(tmp_path / "pickled.npz", bad=np.array([{}], object))
    for name in ("damaged", "pickled"):
        with pytest.raises(UserError, match="damaged"):
            read_arrays(tmp_path / f"{name}.npz")
    assert read_plans(tmp_path / PLANS) is None


def plans_of(success, error, outside=()):
    n = len(success)
    imagined = np.zeros((n, 2, 2))
    imagined[list(outside)] = 9.0
    error = np.array(error, float)[:, None]
    done = np.ones((n, 1), bool)
    return {"open_loop": Plans(0 * imagined, imagined, done, error, np.array(success), np.ones(n), np.ones(n))}


def test_the_example_task_was_missed_then_reached_by_the_plan_that_was_farthest_off(wall):
    world = World(wall.outline().numpy(), np.float32(0.25), np.zeros((4, 2)), np.zeros((4, 2)))
    before = plans_of([False, False, False, True], [1, 3, 9, 20])
    after = plans_of([True, True, False, True], [0, 0, 0, 0])
    assert example_task(world, {"baseline": before, "finetuned": after}) == 1
    leaving = plans_of([False, False, False, True], [1, 3, 9, 20], outside=[1])
    assert example_task(world, {"baseline": leaving, "finetuned": after}) == 0
    assert example_task(world, {"baseline": before, "oracle": after}) == 1
    assert example_task(world, {"finetuned": before}) == 2
    assert example_task(world, {"oracle": plans_of([True] * 3, [0, 2, 1])}) == 1


def test_a_simulator_without_a_success_radius_has_none(wall, monkeypatch):
    monkeypatch.setattr(type(wall), "success_radius", None, raising=False)
    monkeypatch.delattr(wall, "success_radius", raising=False)
    execution = executed(type(wall)(), ghost=False)
    world = World.of(execution, wall)
    assert np.isnan(world.success_radius)
    assert torch.equal(torch.as_tensor(world.start), execution.tasks.start)
