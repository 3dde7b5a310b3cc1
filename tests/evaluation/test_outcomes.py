import pandas as pd
import pytest
import torch

from gapclose.envs.simulator import Tasks
from gapclose.envs.wall import Wall
from gapclose.evaluation.outcomes import outcomes, read_outcomes, write_outcomes
from gapclose.planning.execution import Execution


def test_outcomes_are_those_of_each_task(tmp_path):
    goal = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    states = torch.tensor([[[0.0, 0.0], [1.0, 0.1]], [[0.0, 0.0], [0.5, 0.0]]])
    imagined = states + torch.tensor([[0.0, 0.0], [0.2, 0.0]])
    executed = torch.tensor([[True], [False]])
    tasks = Tasks(states[:, 0], goal)
    execution = Execution(tasks, torch.zeros(2, 1, 2), states, imagined, executed, imagined[:, -1], 0.0, 0)
    table = outcomes({"baseline": {"mpc": execution}}, Wall())
    assert table["success"].tolist() == [1, 0]
    assert table["goal_distance"].tolist() == pytest.approx([0.1, 0.5])
    assert table["world_model_error"][0] == pytest.approx(0.02)
    assert pd.isna(table["world_model_error"][1])
    write_outcomes(tmp_path / "tasks.csv", table)
    pd.testing.assert_frame_equal(read_outcomes(tmp_path / "tasks.csv"), table, check_dtype=False)
