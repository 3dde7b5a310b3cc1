import pytest

from gapclose.report.headline import headline, story
from tests.report.conftest import gap, metrics_of


@pytest.mark.parametrize(
    ("error", "verdict"),
    [(0.001, "almost completely"), (0.1, "most of the gap"), (0.3, "narrowed"), (0.5, "did not close")],
)
def test_the_verdict_follows_the_error(error, verdict):
    assert verdict in headline(metrics_of(finetuned=gap(0.9, error)))


def test_the_headline_names_success_before_and_after():
    assert "25 % of the plans reached their goal before, 100 % after" in headline(metrics_of())


def test_the_parts_of_the_story_depend_on_the_evaluated_models():
    titles = [title for title, _ in story(metrics_of())]
    assert titles == ["What went wrong", "What was done", "What changed", "What remains"]
    assert [title for title, _ in story(metrics_of(["baseline"], finetune="none"))] == ["What went wrong"]
    assert "40,000 times" in headline(metrics_of(["baseline"], finetune="none"))
    assert [title for title, _ in story(metrics_of(["finetuned"]))] == ["What was done", "The result"]
    assert "true dynamics" in headline(metrics_of(["oracle"]))


def test_a_larger_error_is_reported_and_infinite_errors_are_handled():
    worse = story(metrics_of(finetuned=gap(0.2, 0.8)))
    assert "100 % more" in dict(worse)["What changed"]
    assert "repaired a model that had diverged: 0 %" in headline(metrics_of(baseline=gap(0.0, None)))
    assert "did not close the gap" in headline(metrics_of(finetuned=gap(0.0, None)))
    broken = metrics_of(baseline=gap(0.0, None), finetuned=gap(0.0, None))
    assert "infinite" in dict(story(broken))["What went wrong"]
    assert "distance to the goal that it promised is infinite" in dict(story(broken))["What went wrong"]
    assert "errs by infinite (before: infinite)" in dict(story(broken))["What changed"]
    assert headline(broken)
