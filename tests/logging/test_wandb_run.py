"""What an offline run holds, read back from W&B's file."""

import json
import shutil
import signal
from pathlib import Path

import pytest
import wandb
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf
from PIL import Image

from gapclose.errors import UserError
from gapclose.logging import wandb_run
from gapclose.logging.artifacts import content_key
from gapclose.logging.identity import Identity
from gapclose.logging.metrics import AXES, flatten
from gapclose.training.planner_rollouts import PlannerRollouts
from tests.logging.offline_run import runs_of
from tests.logging.recorded import SETTINGS
from tests.runs.conftest import metrics_of

CURVES = {
    "baseline/loss": [1, 2],
    "baseline/expert_error": [1, 2],
    "finetune/loss": [1, 2, 3],
    "finetune/expert_error": [1, 2, 3],
    "rollouts/success_rate": [0, 1, 2],
    "rollouts/world_model_error": [0, 1, 2],
    "rollouts/simulator_steps": [0, 1, 2],
    "held_out/open_loop/train_test_gap": [0, 3],
    "held_out/open_loop/success_rate_ci95/low": [0, 3],
    "horizon/baseline": [1, 2, 3, 4, 5, 6],
    "horizon/finetuned": [1, 2, 3, 4, 5, 6],
}
"""Where the curves of the tiny run have points."""


def table(path):
    content = json.loads(path.read_text())
    return [dict(zip(content["columns"], row)) for row in content["data"]]


def test_the_run_prints_nothing_about_wandb_and_ends_successfully(recorded):
    assert "wandb" not in (recorded.answer.out + recorded.answer.err).lower()
    assert "Warning" not in recorded.answer.err
    assert recorded.run.exit_code == 0


def test_a_run_has_a_name_a_group_tags_and_its_command(recorded):
    run = recorded.run.run
    assert run.project == "gapclose"
    assert run.display_name.startswith("online ensemble ")
    assert "data_dir" not in run.display_name
    assert len(run.display_name) <= 128
    assert (run.job_type, run.run_group) == ("online", "")
    assert set(run.tags) == {"wall", "expert", "ensemble", "multistart", "online"}
    assert run.notes.startswith("python train.py ")
    assert f"data_dir={recorded.folder.parent / 'data'}" in run.notes


def test_the_configuration_is_complete_and_resolved(recorded):
    config = recorded.run.config
    assert config["choices"]["finetune"] == "online"
    assert config["choices"]["planner"] == "multistart"
    assert config["baseline"]["module"]["scheduler"]["T_max"] == config["baseline"]["epochs"] == 2
    assert config["data"]["folder"] == config["data_dir"]
    assert "${" not in json.dumps(config)


@pytest.mark.parametrize("name", CURVES)
def test_each_curve_has_points_over_the_axis_of_its_group(recorded, name):
    axis = AXES[name.partition("/")[0]]
    assert [at for at, _ in recorded.run.curve(name, axis)] == CURVES[name]
    defined = recorded.run.axes
    assert defined.get(name, defined[f"{name.partition('/')[0]}/*"]) == axis


def test_every_curve_has_an_axis(recorded):
    numbers = {name for row in recorded.run.history for name, value in row.items() if isinstance(value, int | float)}
    media = ("_step", "results", "tasks", "pictures", "plans")
    assert {name.partition("/")[0] for name in numbers} - set(media) <= set(AXES)


def test_curves_and_results_agree(recorded):
    metrics, run = metrics_of(recorded.folder), recorded.run
    of_rollouts = [(entry["epoch"], pytest.approx(entry["goal_distance"])) for entry in metrics["rollouts"]]
    assert run.curve("rollouts/goal_distance", "rollouts/epoch") == of_rollouts
    ends = [metrics[model]["open_loop"]["world_model_error"] for model in ("baseline", "finetuned")]
    assert [error for _, error in run.curve("held_out/open_loop/world_model_error", "held_out/epoch")] == ends
    along = [error for _, error in run.curve("horizon/finetuned", "horizon/step")]
    assert sum(along) / len(along) == pytest.approx(metrics["finetuned"]["open_loop"]["world_model_error"])


def test_the_summary_is_that_of_metrics_json(recorded):
    expected = flatten(metrics_of(recorded.folder))
    assert {name: recorded.run.summary[name] for name in expected} == expected
    low, high = metrics_of(recorded.folder)["finetuned"]["mpc"]["success_rate_ci95"]
    assert expected["finetuned/mpc/success_rate_ci95/low"] == low < high
    assert recorded.run.best["finetune/expert_error"] == {"last", "min"}
    assert recorded.run.best["rollouts/success_rate"] == {"last", "max"}


def test_tables_hold_numbers(recorded):
    metrics, media = metrics_of(recorded.folder), recorded.run.media()
    results = {(row["model"], row["executed"]): row for row in table(media["results"])}
    assert len(results) == 8
    assert results["finetuned", "MPC"]["goal_distance"] == metrics["finetuned"]["mpc"]["goal_distance"]
    assert results["oracle", "open loop"]["train_test_gap"] is None
    tasks = table(media["tasks"])
    assert len(tasks) == 8 * 4
    of_baseline = [row["success"] for row in tasks if (row["model"], row["way"]) == ("baseline", "open_loop")]
    assert sum(of_baseline) / 4 == metrics["baseline"]["open_loop"]["success_rate"]


def test_pictures_and_animated_plans_are_logged(recorded):
    media = recorded.run.media()
    pictures = {f"pictures/{name}" for name in ("plans", "error_along_horizon", "finetuning_epochs")}
    assert set(media) == pictures | {"plans/baseline", "plans/finetuned", "results", "tasks"}
    assert media["pictures/plans"].read_bytes() == (recorded.folder / "plans.png").read_bytes()
    with Image.open(media["plans/finetuned"]) as video:
        assert (video.format, video.n_frames) == ("GIF", 7)


def test_the_model_comes_from_the_baseline_and_the_data(recorded):
    named = {artifact.name: artifact for artifact in recorded.run.artifacts if artifact.type != "run_table"}
    data = next((recorded.folder.parent / "data").glob("wall-expert-*.safetensors"))
    baseline = next((recorded.folder.parent / "data/baselines").glob("*.ckpt"))
    assert set(named) == {f"data-{data.stem}", f"baseline-{baseline.stem}", f"online-{baseline.stem}"}
    assert [artifact.type for artifact in named.values()] == ["dataset", "model", "model"]
    assert [artifact.use_after_commit for artifact in named.values()] == [True, True, False]
    made = named[f"online-{baseline.stem}"]
    assert {"seed-0", recorded.run.run.run_id} <= set(made.aliases)
    metadata = json.loads(made.metadata)
    assert (
        metadata["open_loop"]["success_rate"] == metrics_of(recorded.folder)["finetuned"]["open_loop"]["success_rate"]
    )
    for artifact, path in zip(named.values(), (data, baseline, recorded.folder / "checkpoints/last.ckpt")):
        (content,) = artifact.manifest.contents
        assert content.local_path == str(path)
        assert content.size == path.stat().st_size


def test_a_given_model_is_named_by_its_content_not_by_its_file(call, recorded):
    given = "epoch=3-step=10.ckpt"
    shutil.copy(recorded.folder / "checkpoints/last.ckpt", given)
    settings = [f"data_dir={recorded.folder.parent / 'data'}", f"base_checkpoint='{given}'", "hydra.run.dir=run"]
    assert call("train", *SETTINGS, *settings).code == 0
    (run,) = runs_of(Path("run"))
    names = [artifact.name for artifact in run.artifacts if artifact.type == "model"]
    assert [name.partition("-")[0] for name in names] == ["baseline", "online"]
    assert {name.partition("-")[2] for name in names} == {content_key(recorded.folder / "checkpoints/last.ckpt")}


def test_the_summary_is_there_even_if_artifacts_fail(call, monkeypatch, recorded):
    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(wandb_run, "log_files", fail)
    assert call("train", *SETTINGS, f"data_dir={recorded.folder.parent / 'data'}", "hydra.run.dir=run").code == 0
    (run,) = runs_of(Path("run"))
    assert run.summary["finetuned/mpc/success_rate"] == metrics_of(Path("run"))["finetuned"]["mpc"]["success_rate"]


def test_files_for_a_later_sync_are_in_the_folder_of_the_run(recorded):
    for artifact in recorded.run.artifacts:
        for content in artifact.manifest.contents:
            assert Path(content.local_path).is_file()
            assert recorded.folder.parent in Path(content.local_path).parents


def interrupting(epoch):
    """Interrupts the start of one epoch of rollouts like Ctrl-C."""
    start_epoch = PlannerRollouts.on_train_epoch_start

    def start(self, trainer, module):
        start_epoch(self, trainer, module)
        if trainer.current_epoch == epoch:
            raise KeyboardInterrupt

    return start


def test_a_resumed_run_keeps_its_id_and_repeats_no_epoch(call, monkeypatch, recorded):
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(PlannerRollouts, "on_train_epoch_start", interrupting(1))
        assert call("train", *SETTINGS, f"data_dir={recorded.folder.parent / 'data'}", "hydra.run.dir=run").code == 130
    signal.signal(signal.SIGINT, before)
    assert call("train", "resume=run").code == 0
    first, second = runs_of(Path("run"))
    assert (first.exit_code, second.exit_code) == (130, 0)
    for name in ("run_id", "display_name", "notes", "tags", "job_type"):
        assert getattr(first.run, name) == getattr(second.run, name)
    # W&B numbers the rows of the second part on from the last of the first when they are synced.
    assert second.run.resume
    assert first.config == second.config
    for name in CURVES:
        if not name.startswith("baseline"):  # The baseline was there already.
            axis = AXES[name.partition("/")[0]]
            assert first.curve(name, axis) + second.curve(name, axis) == recorded.run.curve(name, axis)
    assert len(first.curve("finetune/loss", "finetune/epoch")) == 1


def test_an_epoch_that_fails_after_its_validation_leaves_no_row(tmp_path, monkeypatch):
    logger = wandb_run.WandbRun(str(tmp_path), offline=True)
    logged = []
    logger._experiment = type("Run", (), {"log": lambda self, row: logged.append(row)})()
    logger.log_metrics({"epoch": 0, "finetune/expert_error": 1.0}, step=10)
    assert logged == []
    logger.log_metrics({"epoch": 0, "finetune/loss": 2.0, "rollouts/success_rate": 0.5}, step=10)
    row = {"finetune/expert_error": 1.0, "finetune/loss": 2.0, "rollouts/success_rate": 0.5}
    assert logged == [{**row, "finetune/epoch": 1, "rollouts/epoch": 0}]


def test_each_job_of_a_sweep_is_a_run_and_a_failed_one_is_finished_as_failed(call, monkeypatch, recorded):
    start_epoch = PlannerRollouts.on_train_epoch_start

    def fail_once(self, trainer, module):
        if self.seed == 1:
            raise UserError("Out of luck.")
        start_epoch(self, trainer, module)

    monkeypatch.setattr(PlannerRollouts, "on_train_epoch_start", fail_once)
    sweep = ["seed=1,2", "hydra.sweep.dir=multirun/seeds", f"data_dir={recorded.folder.parent / 'data'}"]
    assert call("train", "-m", *SETTINGS, *sweep).code != 0
    runs = [run for found in Path("multirun/seeds").glob("*/wandb") for run in runs_of(found.parent)]
    failed, finished = sorted(runs, key=lambda run: run.exit_code, reverse=True)
    assert (failed.exit_code, finished.exit_code) == (1, 0)
    assert failed.run.run_id != finished.run.run_id
    assert failed.run.run_group == finished.run.run_group == "seeds"
    assert failed.run.display_name.startswith("online ensemble seed=1 ")
    assert finished.run.display_name.startswith("online ensemble seed=2 ")
    assert "finetuned/open_loop/success_rate" not in failed.summary
    # Data are shared, and so is their artifact; baselines of two seeds are two.
    digests = {artifact.name: artifact.digest for artifact in recorded.run.artifacts}
    of_other = {artifact.name: artifact.digest for artifact in finished.artifacts}
    assert [digests[name] == of_other[name] for name in digests.keys() & of_other.keys()] == [True]


def test_without_finetuning_there_is_no_finetuned_model_and_no_epoch(call, recorded):
    settings = [text for text in SETTINGS if not text.startswith("finetune")]
    arguments = [*settings, f"data_dir={recorded.folder.parent / 'data'}", "hydra.run.dir=run"]
    assert call("train", *arguments).code == 0
    (run,) = runs_of(Path("run"))
    assert run.run.job_type == "none"
    kinds = [artifact.type for artifact in run.artifacts if artifact.type != "run_table"]
    assert kinds == ["dataset", "model"]
    assert run.curve("held_out/open_loop/success_rate", "held_out/epoch") == []
    assert len(run.curve("horizon/baseline", "horizon/step")) == 6


IDENTITY = Identity("0123abcd", "name", None, "none", [], "python train.py")


@pytest.mark.parametrize("key", ["malformed", "a" * 40])
def test_a_run_stays_offline_with_an_invalid_key_or_an_unreachable_server(tmp_path, monkeypatch, caplog, key):
    monkeypatch.setenv("WANDB_API_KEY", key)
    if key != "malformed":

        def unreachable(prompt):
            raise wandb.errors.AuthenticationError("no route to host")

        monkeypatch.setattr(wandb, "login", unreachable)
    run = wandb_run.start(str(tmp_path), "gapclose", None, IDENTITY)
    assert run.settings.mode == "offline"
    run.finish()
    (warning,) = [record.getMessage() for record in caplog.records if record.name == wandb_run.__name__]
    assert "wandb sync" in warning


@pytest.mark.parametrize(
    ("variable", "offline", "expected"),
    [
        ("disabled", None, "disabled"),
        ("online", None, "online"),
        ("disabled", True, "offline"),
        ("", None, "offline"),
        ("offline", False, "online"),
    ],
)
def test_the_mode_is_that_of_the_setting_then_of_the_environment(monkeypatch, variable, offline, expected):
    monkeypatch.setattr(wandb_run, "signed_in", lambda: False)
    monkeypatch.setenv("WANDB_MODE", variable)
    assert wandb_run.mode(offline) == expected


def test_a_disabled_run_writes_nothing(call, monkeypatch, recorded):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert call("train", *SETTINGS, f"data_dir={recorded.folder.parent / 'data'}", "hydra.run.dir=run").code == 0
    assert not list(Path("run").glob("wandb/*run-*"))
    assert "The logger failed" not in Path("run/train.log").read_text()


def test_a_run_that_must_be_online_but_cannot_is_an_error_in_one_sentence(tmp_path, monkeypatch):
    def unreachable(**_):
        raise wandb.errors.CommError("no route to host")

    monkeypatch.setattr(wandb, "init", unreachable)
    with pytest.raises(UserError, match=r"no route to host.*logger.offline=true"):
        wandb_run.start(str(tmp_path), "gapclose", False, IDENTITY)


@pytest.mark.parametrize(
    ("setting", "variable", "expected"),
    [(None, None, "gapclose"), (None, "theirs", "theirs"), ("mine", "theirs", "mine"), (None, "", "gapclose")],
)
def test_the_project_is_that_of_the_setting_then_of_the_environment(tmp_path, monkeypatch, setting, variable, expected):
    if variable is not None:
        monkeypatch.setenv("WANDB_PROJECT", variable)
    assert wandb_run.WandbRun(str(tmp_path), setting).name == expected


def test_name_group_and_tags_of_the_environment_come_before_ours(monkeypatch):
    choices = {"env": "wall", "data": "expert", "model": "mlp", "planner": "cem", "finetune": "online"}
    hydra = {"overrides": {"task": []}, "mode": RunMode.RUN, "sweep": {"dir": "multirun"}}
    monkeypatch.setattr(HydraConfig, "get", lambda: OmegaConf.create(hydra))
    config = OmegaConf.create({"choices": choices})
    ours = Identity.new(config)
    assert (ours.name, ours.group, ours.tags) == ("online mlp", None, sorted(choices.values()))
    values = {"NAME": "best", "TAGS": "paper, table 1,", "RUN_GROUP": "g", "JOB_TYPE": "j", "NOTES": "n"}
    for name, value in values.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    theirs = Identity.new(config)
    assert theirs == Identity(theirs.id, "best", "g", "j", ["paper", "table 1"], "n")


@pytest.mark.parametrize("content", ["", "[]", '{"id": "x"}', "[" * 100_000])
def test_a_damaged_record_of_the_run_is_an_error_in_one_sentence(tmp_path, content):
    (tmp_path / "wandb_run.json").write_text(content)
    with pytest.raises(UserError, match=r"wandb_run\.json is damaged, .*delete it"):
        Identity.of(tmp_path, OmegaConf.create())


@pytest.mark.parametrize("home", [None, "nowhere"])
def test_a_process_without_a_home_folder_gets_one_and_another_keeps_its_own(tmp_path, monkeypatch, home):
    monkeypatch.setenv("HOME", str(tmp_path))
    wandb_run.require_home(tmp_path / "run" / "home")
    assert Path.home() == tmp_path
    assert not (tmp_path / "run").exists()
    if home:
        monkeypatch.setenv("HOME", str(tmp_path / home))
    else:
        monkeypatch.delenv("HOME")
        monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    wandb_run.require_home(tmp_path / "run" / "home")
    assert Path.home() == tmp_path / "run" / "home"
    assert Path.home().is_dir()


def test_a_library_that_cannot_start_is_an_error_in_one_sentence(monkeypatch):
    def fail(**_):
        raise RuntimeError("no\nsocket")

    monkeypatch.setattr(wandb, "init", fail)
    identity = Identity("id", "name", None, "job", [], "")
    with pytest.raises(UserError, match=r"^W&B cannot start \(RuntimeError: no socket\); .* logger=none\.$"):
        wandb_run.start("folder", "project", True, identity)


def test_a_mode_that_is_neither_true_nor_false_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"logger\.offline is 'maybe'; give true, false or null"):
        wandb_run.WandbRun(str(tmp_path), offline="maybe")
