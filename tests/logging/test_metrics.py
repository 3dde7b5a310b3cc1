import pytest
import torch

from gapclose.envs.simulator import Tasks
from gapclose.logging.metrics import AXES, GOALS, epoch_row, flatten, held_out_rows, horizon_rows
from gapclose.planning.execution import Execution


def test_flatten_joins_names_and_names_the_ends_of_intervals():
    result = {"rate": 0.5, "rate_ci95": [0.25, 0.75], "planner": "cem", "gap": None}
    metrics = {"seed": 1, "a": result, "rollouts": [{}]}
    assert flatten(metrics, "x/") == {
        "x/seed": 1,
        "x/a/rate": 0.5,
        "x/a/rate_ci95/low": 0.25,
        "x/a/rate_ci95/high": 0.75,
    }


def test_an_epoch_counts_as_completed_for_metrics_measured_at_its_end():
    row = epoch_row({"finetune/loss": 1.0, "rollouts/success_rate": 0.5, "held_out/expert_error": 0.1}, 4)
    axes = {name: value for name, value in row.items() if name in AXES.values()}
    assert axes == {"finetune/epoch": 5, "rollouts/epoch": 4, "held_out/epoch": 5}


GAP = {"expert_error": 0.1, "open_loop": {"success_rate": 0.5}, "mpc": {"success_rate": 1.0}}


@pytest.mark.parametrize(
    ("metrics", "epochs"),
    [
        ({"baseline": GAP, "finetuned": GAP}, [0, 8]),
        ({"baseline": GAP, "finetuned": GAP, "each_epoch": [{}]}, []),
        ({"baseline": GAP}, []),
        ({"finetuned": GAP}, []),
    ],
)
def test_start_and_end_of_finetuning_are_points_unless_each_epoch_is_one(metrics, epochs):
    rows = held_out_rows(metrics, 8)
    assert [row["held_out/epoch"] for row in rows] == epochs
    assert all(row["held_out/open_loop/success_rate"] == 0.5 for row in rows)
    assert all("held_out/mpc/success_rate" not in row for row in rows)


def test_the_error_along_the_horizon_is_the_mean_over_tasks():
    states, imagined = torch.zeros(2, 3, 1), torch.tensor([[[0.0], [1.0], [2.0]], [[0.0], [3.0], [0.0]]])
    tasks, executed = Tasks(states[:, 0], states[:, 0]), torch.ones(2, 2, dtype=torch.bool)
    execution = Execution(tasks, torch.zeros(2, 2, 1), states, imagined, executed, imagined[:, -1], 0.0, 0)
    rows = horizon_rows({"baseline": {"open_loop": execution}, "oracle": {"open_loop": execution}})
    assert rows == [{"horizon/baseline": 5.0, "horizon/step": 1}, {"horizon/baseline": 2.0, "horizon/step": 2}]


def test_every_curve_with_a_best_value_has_an_axis():
    assert {name.partition("/")[0] for name in GOALS} <= AXES.keys()
