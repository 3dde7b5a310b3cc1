import errno
import fcntl

import pytest
from filelock import Timeout

from gapclose.explanation import explain
from gapclose.locks import PathLock


def test_a_file_system_without_locks_is_an_error_with_the_name_of_the_lock(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    path = tmp_path / "run.lock"
    with pytest.raises(OSError, match="No locks available") as error, PathLock(path):
        pass
    assert explain(error.value).startswith(f"{path} cannot be used (No locks available); choose another path")


def test_a_lock_that_another_process_holds_is_a_timeout(tmp_path):
    with PathLock(tmp_path / "lock"), pytest.raises(Timeout):
        PathLock(tmp_path / "lock", is_singleton=False).acquire(blocking=False)
