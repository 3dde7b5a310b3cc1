import numpy as np
import pytest
import torch

from gapclose.models.oracle import OracleWorldModel
from gapclose.planning.objective import GoalDistance, Objective
from gapclose.report.maps import POINTS, make_maps
from tests.report.conftest import executed


@pytest.fixture
def objective():
    return Objective({"goal": GoalDistance()})


def test_maps_have_errors_of_learned_models_and_costs_of_all_models(wall, ensemble, objective):
    executions = {name: {"open_loop": executed(wall, True)} for name in ("baseline", "oracle")}
    found = make_maps({"baseline": ensemble, "oracle": OracleWorldModel(wall)}, executions, wall, objective, seed=0)
    assert found["errors/baseline"].shape == (40, 40)
    assert np.isfinite(found["errors/baseline"]).sum() > 1400
    assert "errors/oracle" not in found
    for name in executions:
        assert found[f"cost/{name}"].shape == (POINTS, POINTS)
        assert np.isfinite(found[f"cost/{name}"]).all()
        (left, right), (low, high) = (np.quantile(ticks, (0, 1)) for ticks in found["cost/ticks"])
        x, y = found[f"cost/{name}/plan"]
        assert left < x < right
        assert low < y < high
    assert not np.array_equal(found["cost/baseline"], found["cost/oracle"])
    assert 0 <= found["cost/task"] < 3


def test_maps_do_not_depend_on_the_global_random_state(wall, ensemble, objective):
    executions = {"baseline": {"open_loop": executed(wall, True)}}
    torch.rand(3)
    one = make_maps({"baseline": ensemble}, executions, wall, objective, seed=0)
    torch.rand(5)
    other = make_maps({"baseline": ensemble}, executions, wall, objective, seed=0)
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_an_engine_and_the_oracle_alone_have_no_maps(wall, engine, ensemble, objective):
    executions = {"baseline": {"open_loop": executed(wall, True)}}
    assert make_maps({"baseline": ensemble}, executions, engine, objective, seed=0) == {}
    oracle = {"oracle": executions["baseline"]}
    assert make_maps({"oracle": OracleWorldModel(wall)}, oracle, wall, objective, seed=0) == {}
