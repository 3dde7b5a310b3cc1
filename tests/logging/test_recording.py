from pathlib import Path

import pytest

from tests.runs.conftest import TINY, TINY_ONLINE

SETTINGS = [setting for setting in TINY if setting != "logger=none"] + TINY_ONLINE


def test_wandb_runs_offline_without_account_or_prompt_one_run_per_job(call, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    answer = call("train", "-m", *SETTINGS, "seed=0,1", "hydra.sweep.dir=sweep")
    assert answer.code == 0
    assert "wandb" not in answer.err.lower()
    runs = [list(Path(f"sweep/{job}/wandb").glob("offline-run-*/*.wandb")) for job in range(2)]
    assert [len(files) for files in runs] == [1, 1]
    assert runs[0][0].name != runs[1][0].name
    # A run that has been finished holds the final table and the pictures.
    for job in range(2):
        media = {path.suffix for path in Path(f"sweep/{job}/wandb").rglob("files/media/**/*") if path.is_file()}
        assert media == {".json", ".png"}


def test_csv_has_the_curves_and_the_final_metrics(call):
    assert call("train", *SETTINGS, "logger=csv", "hydra.run.dir=run").code == 0
    header = next(Path("run").rglob("metrics.csv")).read_text().splitlines()[0]
    for name in ("baseline/loss", "finetune/expert_error", "rollouts/success_rate", "finetuned/mpc/success_rate"):
        assert name in header


def test_tensorboard_has_events(call):
    pytest.importorskip("tensorboard")
    assert call("train", *SETTINGS, "logger=tensorboard", "hydra.run.dir=run").code == 0
    assert list(Path("run").rglob("events.out.tfevents*"))
