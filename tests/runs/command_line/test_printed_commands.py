"""The user's own options reach every composition of a command, and every command that is printed can be pasted."""

import shlex
from pathlib import Path

import pytest

from gapclose.errors import UserError
from gapclose.report.folder import write_report
from gapclose.runs.jobs import train
from tests.runs.conftest import TINY

FOLDERS = ["Jürgen (AG), x=1", 'it\'s "$HOME"', "a\\'b [1]", "null", "-m", "1e3"]
WINDY = "defaults:\n  - wall\n\naction_max: 0.07\n"


@pytest.fixture
def trained_with(monkeypatch):
    """The configuration of each run that the commands start, which train nothing."""
    configs = []

    def record(setup, config, folder, began):
        configs.append(config)

    monkeypatch.setattr(train, "train", record)
    return configs


@pytest.fixture
def interrupted(call, monkeypatch):
    """The command that a command prints when Ctrl-C interrupts it, without `python train.py`."""

    def run(*arguments):
        def interrupt(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(train, "train", interrupt)
            answer = call("train", *arguments, *TINY)
        assert answer.code == 130, answer.err
        printed = answer.err.partition("Resume with: ")[2].rstrip("\n")
        python, program, *words = shlex.split(printed)
        assert (python, program) == ("python", "train.py")
        return words

    return run


@pytest.fixture
def own_options(tmp_path, monkeypatch):
    """A folder that is also a package, with a world of its own."""
    (tmp_path / "lab, (2)/env").mkdir(parents=True)
    (tmp_path / "lab, (2)/env/windy.yaml").write_text(WINDY)
    (tmp_path / "lab_package/conf/env").mkdir(parents=True)
    (tmp_path / "lab_package/__init__.py").touch()
    (tmp_path / "lab_package/conf/__init__.py").touch()
    (tmp_path / "lab_package/conf/env/windy.yaml").write_text(WINDY)
    (tmp_path / "lab_worlds.py").write_text("from gapclose.envs.wall import Wall\n\n\nclass Own(Wall):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


WAYS_TO_NAME_OPTIONS = {
    "folder": ["--config-dir=lab, (2)"],
    "search path": ["hydra.searchpath=['file://{}/lab, (2)']"],
    "package": ["hydra.searchpath=[pkg://lab_package.conf]"],
}


@pytest.mark.parametrize("way", WAYS_TO_NAME_OPTIONS)
def test_own_options_are_found_by_other_planners_and_when_the_printed_command_is_pasted(
    call, interrupted, trained_with, own_options, way
):
    named = [word.format(own_options) for word in WAYS_TO_NAME_OPTIONS[way]]
    words = interrupted(*named, "env=windy", "compare=[cem]", "hydra.run.dir=run")
    assert words[-1].startswith("resume=")
    answer = call("train", *words)
    assert (answer.code, answer.err) == (0, "")
    (config,) = trained_with
    assert config.env.action_max == 0.07
    assert config.compared.cem.planner._target_.endswith("CEMPlanner")


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_printed_command_goes_on_with_the_run_in_any_folder(call, interrupted, trained_with, folder):
    escaped = folder.replace('"', '\\"')
    assert call("train", *interrupted(f'hydra.run.dir="{escaped}"')).code == 0
    assert [path.parent.name for path in Path().glob("*/config.yaml")] == [folder]
    assert len(trained_with) == 1


def test_a_report_of_an_unfinished_run_prints_a_command_that_finishes_it(call, interrupted, trained_with):
    interrupted('hydra.run.dir="a, (b)"')
    with pytest.raises(UserError) as refusal:
        write_report(Path("a, (b)"))
    assert call("train", *shlex.split(str(refusal.value).partition("train.py ")[2])).code == 0
    assert len(trained_with) == 1


def test_a_run_with_a_class_of_the_command_line_is_resumed_by_the_whole_command(
    call, interrupted, trained_with, own_options
):
    words = interrupted("env._target_=lab_worlds.Own", "hydra.run.dir='a, b'")
    assert not any(word.startswith("resume") for word in words)
    answer = call("train", *words)
    assert (answer.code, answer.err) == (0, "")
    (config,) = trained_with
    assert config.env._target_ == "lab_worlds.Own"


def test_errors_in_a_ready_made_sweep_are_found_with_own_options(call, own_options):
    for way in WAYS_TO_NAME_OPTIONS.values():
        named = [word.format(own_options) for word in way]
        answer = call("train", *named, "sweep=grid", "env=windy", "plannr.horizon=5", "seed=0,1")
        assert answer.code == 1
        assert "plannr" in answer.err
