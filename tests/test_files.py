import json
import os
from pathlib import Path

import pytest

from gapclose import files
from gapclose.errors import UserError
from gapclose.files import read_text, replacing, write_json, write_text


def test_a_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "new" / "file"
    with replacing(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(TypeError), replacing(path) as temporary:
        temporary.write_bytes("the disk is full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_that_is_written_is_read_back_unchanged(tmp_path):
    content = {"env": "wall", "gap": None, "values": [1.5, 2], "nested": {"λ": 0}}
    write_json(tmp_path / "metrics.json", content)
    assert json.loads((tmp_path / "metrics.json").read_text()) == content
    assert os.listdir(tmp_path) == ["metrics.json"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    write_json(path, {"run": 1})

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_json(path, {"run": 2})
    assert json.loads(path.read_text()) == {"run": 1}


def test_content_that_json_cannot_represent_leaves_the_old_file(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"run": 1})
    with pytest.raises(TypeError):
        write_json(path, {"run": object()})
    assert json.loads(path.read_text()) == {"run": 1}
    assert os.listdir(tmp_path) == ["metrics.json"]


def test_text_is_in_utf_8_whatever_a_file_name_in_it_contains(tmp_path):
    write_text(tmp_path / "file", "λ = 0 in \udc80")
    assert (tmp_path / "file").read_bytes() == "λ = 0 in ?".encode()
    assert read_text(tmp_path / "file") == "λ = 0 in ?"


def test_nothing_is_written_through_a_link_at_the_name_of_the_temporary_file(tmp_path):
    (tmp_path / "thesis").write_text("mine")
    (tmp_path / f".file.{os.getpid()}.partial").symlink_to("thesis")
    write_text(tmp_path / "file", "new")
    assert (tmp_path / "thesis").read_text() == "mine"
    assert (tmp_path / "file").read_text() == "new"


def test_an_error_while_reading_names_the_file(tmp_path):
    (tmp_path / "file").symlink_to("/proc/self/mem")
    with pytest.raises(OSError, match="file") as raised:
        read_text(tmp_path / "file")
    assert raised.value.filename == str(tmp_path / "file")


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "file")
    monkeypatch.setattr(files, "is_there", lambda path: True)
    with pytest.raises(UserError, match="no regular file"):
        read_text(tmp_path / "file")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no such file")
def test_a_file_that_holds_more_than_its_size_says_is_read_up_to_the_bound():
    assert Path("/proc/self/status").stat().st_size == 0
    with pytest.raises(ValueError, match="it is too large"):
        read_text(Path("/proc/self/status"), largest=100)
