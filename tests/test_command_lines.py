import shlex
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from gapclose.command_lines import list_override, quoted_override, shell_override, shell_path, train_command

TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1)
TEXTS |= st.text("ab1.=,(){}[]:'\"\\$ \t-+*/~%#!|&;<>?ü", min_size=1)


def value_of(line):
    """The value that Hydra, and then OmegaConf, read from an override."""
    parsed = OverridesParser.create().parse_override(line)
    assert not parsed.is_sweep_override()
    return OmegaConf.to_container(OmegaConf.create({"key": parsed.value()}), resolve=True)["key"]


@given(TEXTS)
@example("Jürgen (AG), x=1")
@example('it\'s "$HOME" ${seed} \\${seed} \\')
@example("null")
@example("1e3")
@example("a\\'")
def test_hydra_reads_a_quoted_override_as_the_same_text(text):
    assert value_of(quoted_override("key", text)) == text
    assert value_of(list_override("key", [text, "b"])) == [text, "b"]
    (word,) = shlex.split(shell_override("key", text))
    assert value_of(word) == text


@pytest.mark.parametrize("folder", ["outputs/2026-01-31_12-00-00_7", "/tmp/run", "../runs/a", "sweep"])
def test_a_plain_folder_needs_no_quotes(folder):
    assert shell_override("hydra.run.dir", Path(folder)) == f"hydra.run.dir={folder}"


def test_a_path_is_never_taken_for_an_option():
    assert shell_path("-m") == "./-m"
    assert shell_path("a b") == "'a b'"


@pytest.mark.parametrize(
    ("started", "command"),
    [
        ("/usr/bin/gapclose-train", "/usr/bin/gapclose-train resume=a"),
        ("../my code/train.py", "python '../my code/train.py' resume=a"),
        ("-c", "python train.py resume=a"),
    ],
)
def test_a_command_is_started_as_this_one_was(monkeypatch, started, command):
    monkeypatch.setattr(sys, "argv", [started])
    assert train_command("resume=a") == command
