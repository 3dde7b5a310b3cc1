"""What is finished and complete can be used where nothing can be written."""

import shutil

import pytest

from tests.runs.conftest import TINY, TINY_ONLINE, is_one_sentence, metrics_of, without_times
from tests.runs.permissions import read_only


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of the finished run and of its data, without the locks."""
    shutil.copytree(trained, tmp_path / "colleague", ignore=shutil.ignore_patterns("*.lock"))
    return tmp_path / "colleague"


@pytest.fixture
def settings(trained, copied):
    return [*TINY, *TINY_ONLINE, f"data_dir={trained / 'data'}", f"hydra.run.dir={copied / 'run'}"]


def test_a_finished_run_in_a_read_only_folder_says_that_it_is_finished(call, copied, settings):
    files = sorted(copied.rglob("*"))
    for arguments in (settings, [f"resume={copied / 'run'}"]):
        with read_only(copied):
            answer = call("train", *arguments)
        assert (answer.code, "is finished already" in answer.out) == (0, True)
    assert sorted(copied.rglob("*")) == files


def test_another_run_and_an_unfinished_one_in_a_read_only_folder_end_in_one_sentence(call, copied, settings):
    with read_only(copied):
        answer = call("train", *settings, "seed=1")
    assert answer.code == 1
    assert is_one_sentence(answer.err)
    assert "another configuration (seed is 0 there and 1 here)" in answer.err
    (copied / "run" / "metrics.json").unlink()
    with read_only(copied):
        answer = call("train", *settings)
    assert answer.code == 1
    assert is_one_sentence(answer.err)
    assert f"{copied / 'run'}/" in answer.err
    assert "Permission denied" in answer.err


def test_a_run_uses_the_data_and_the_baseline_in_a_read_only_folder(call, trained, copied, tmp_path):
    run = ["hydra.run.dir=mine", f"data_dir={copied / 'data'}"]
    with read_only(copied):
        assert call("train", *TINY, *TINY_ONLINE, *run).code == 0
        answer = call("train", *TINY, "baseline.epochs=1", "hydra.run.dir=other", f"data_dir={copied / 'data'}")
    assert without_times(metrics_of(tmp_path / "mine")["finetuned"]) == without_times(
        metrics_of(trained / "run")["finetuned"]
    )
    assert answer.code == 1
    assert is_one_sentence(answer.err)
    assert f"{copied / 'data' / 'baselines'}" in answer.err
