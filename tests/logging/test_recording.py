from pathlib import Path

import pytest

from gapclose.logging import wandb_run
from tests.logging.recorded import SETTINGS


def test_csv_has_the_curves_and_the_final_metrics(call):
    assert call("train", *SETTINGS, "logger=csv", "hydra.run.dir=run").code == 0
    header = next(Path("run").rglob("metrics.csv")).read_text().splitlines()[0]
    for name in ("baseline/loss", "finetune/expert_error", "rollouts/success_rate", "finetuned/mpc/success_rate"):
        assert name in header


def test_tensorboard_has_events(call):
    pytest.importorskip("tensorboard")
    assert call("train", *SETTINGS, "logger=tensorboard", "hydra.run.dir=run").code == 0
    assert list(Path("run").rglob("events.out.tfevents*"))


def test_a_logger_that_fails_at_the_end_loses_nothing(call, monkeypatch, recorded):
    def fail(self, *arguments):
        raise OSError("no space left")

    monkeypatch.setattr(wandb_run.WandbRun, "log_results", fail)
    monkeypatch.setattr(wandb_run.WandbRun, "finish", fail)
    answer = call("train", *SETTINGS, f"data_dir={recorded.folder.parent / 'data'}", "hydra.run.dir=run")
    assert answer.code == 0
    assert Path("run/metrics.json").exists()
    assert Path("run/train.log").read_text().count("The logger failed (OSError: no space left)") == 2
