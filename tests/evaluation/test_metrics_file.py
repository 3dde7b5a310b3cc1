import copy
import json

import pytest

from gapclose.evaluation.metrics_file import check_metrics, ways_of, write_metrics
from tests.report.conftest import metrics_of

MINIMAL = {"finetune": "online", "seed": 0, "finetuned": {"expert_error": 1.0, "open_loop": {"train_test_gap": None}}}


@pytest.mark.parametrize(
    "metrics",
    [metrics_of(), MINIMAL, MINIMAL | {"added later": {"a": [1]}}, MINIMAL | {"oracle": metrics_of()["oracle"]}],
)
def test_metrics_of_this_and_of_other_versions_are_accepted(metrics):
    check_metrics(metrics)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("seed", 1.0),
        ("seed", True),
        ("seed", -1),
        ("finetune", None),
        ("wall_clock_seconds", "long"),
        ("wall_clock_seconds", 10**400),
        ("wall_clock_seconds", float("nan")),
        ("versions", {"torch": 2}),
        ("gradient_steps", "many"),
        ("published", {"DINO-WM": {"success_rate": 1.0}}),
        ("rollouts", [{"epoch": 0}]),
        ("each_epoch", [{"epoch": [], "expert_error": 1.0, "open_loop": {"train_test_gap": 1.0}}]),
        ("baseline", []),
        ("baseline.open_loop", None),
        ("baseline.open_loop.success_rate", 1.5),
        ("baseline.open_loop.success_rate_ci95", [0.0]),
        ("baseline.open_loop.num_tasks", 0),
        ("baseline.open_loop.planning_seconds", None),
    ],
)
def test_a_value_of_the_wrong_type_or_out_of_range_is_named(place, value):
    metrics = copy.deepcopy(metrics_of())
    *parents, last = place.split(".")
    part = metrics
    for name in parents:
        part = part[name]
    part[last] = value
    with pytest.raises(ValueError, match=rf"^{place}"):
        check_metrics(metrics)


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match=r"finetuned\.open_loop\.train_test_gap is missing"):
        check_metrics(MINIMAL | {"finetuned": {"expert_error": 1.0, "open_loop": {}}})


def test_wrong_metrics_are_not_written_and_infinite_ones_become_null(tmp_path):
    path = tmp_path / "metrics.json"
    with pytest.raises(ValueError, match="seed"):
        write_metrics(path, MINIMAL | {"seed": "0"})
    assert not path.exists()
    write_metrics(path, MINIMAL | {"finetuned": MINIMAL["finetuned"] | {"expert_error": float("inf")}})
    assert json.loads(path.read_text())["finetuned"]["expert_error"] is None


def test_ways_to_execute_are_told_from_other_metrics():
    assert list(ways_of(metrics_of()["baseline"] | {"other": {}})) == ["open_loop", "mpc"]
