import json
import sys
from pathlib import Path

import pytest
import wandb
from wandb_workspaces.workspaces import Workspace

from gapclose.dashboards import __main__ as dashboards


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["dashboards", *arguments])
        code = 0
        try:
            dashboards.main()
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return run


def test_the_specification_is_written_without_account_and_network(call):
    code, out, err = call("--project", "walls", "--entity", "team", "--output", "spec.json")
    assert (code, err) == (0, "")
    assert "spec.json" in out
    written = json.loads(Path("spec.json").read_text())
    assert set(written) == {"workspace", "report"}
    assert written["report"]["project"] == {"name": "walls", "entityName": "team"}


def test_without_a_key_one_sentence_says_what_to_do(call):
    code, out, err = call()
    assert (code, out) == (1, "")
    assert err.startswith("Error: There is no W&B key")
    assert err.count("\n") == 1
    assert "wandb login" in err


@pytest.mark.parametrize("where", ["login", "save"])
def test_without_a_connection_one_sentence_says_so(call, monkeypatch, where):
    def unreachable(*_, **__):
        raise wandb.errors.CommError("no route to host")

    monkeypatch.setattr(wandb, "login", unreachable if where == "login" else lambda prompt: True)
    monkeypatch.setattr(Workspace, "save", unreachable)
    code, _, err = call("--entity", "team")
    assert code == 1
    assert err.startswith("Error: W&B ")
    assert "no route to host" in err
    assert err.count("\n") == 1


def test_without_the_extra_one_sentence_says_what_to_install(call, monkeypatch):
    for name in ("pages", "panels"):
        monkeypatch.delitem(sys.modules, f"gapclose.dashboards.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports", None)
    code, _, err = call("--output", "spec.json")
    assert code == 1
    assert 'pip install "gapclose[dashboards]"' in err
    assert not Path("spec.json").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--project", "a/b"], "Invalid project name 'a/b'"),
        (["--project", "x" * 129], "exceeded 128 characters"),
        (["--swept", "seed", "no key"], "--swept is 'no key'"),
    ],
)
def test_invalid_names_are_an_error_in_one_sentence(call, arguments, named):
    code, out, err = call(*arguments, "--output", "spec.json")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert named in err
    assert not Path("spec.json").exists()


def test_a_malformed_key_is_reported_as_malformed(call, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "abc")
    code, _, err = call()
    assert (code, err.count("\n")) == (1, 1)
    assert "WANDB_API_KEY invalid" in err
    assert "cannot be reached" not in err


def test_a_file_that_cannot_be_written_is_an_error_in_one_sentence(call, tmp_path):
    (tmp_path / "file").touch()
    for output in (tmp_path, tmp_path / "file" / "spec.json"):
        code, _, err = call("--output", str(output))
        assert (code, err.count("\n")) == (1, 1)
        assert str(output) in err
