import io
import logging
import os
import shutil
import subprocess
import sys

import pytest

from gapclose import streams
from gapclose.streams import SafeStream, make_logs_printable, make_printing_safe


@pytest.fixture
def pipe():
    """The reading end of a pipe, and a safe stream that writes into it."""
    reading, writing = os.pipe()
    stream = SafeStream(open(writing, "wb"), "ascii", "replace", line_buffering=True)  # noqa: SIM115
    yield reading, stream
    stream.close()


def test_characters_that_the_encoding_lacks_are_replaced(pipe):
    reading, stream = pipe
    print("λ = 0, größer", file=stream)
    stream.flush()
    assert os.read(reading, 100) == b"? = 0, gr??er\n"
    os.close(reading)


def test_output_that_nobody_reads_is_dropped_without_a_word(pipe, capsys):
    reading, stream = pipe
    os.close(reading)
    for _ in range(3):
        print("x" * 100_000, file=stream)
        stream.flush()
    stream.close()
    assert capsys.readouterr().err == ""


def test_output_for_which_there_is_no_room_is_dropped_and_reported_once(capsys):
    with SafeStream(open("/dev/full", "wb"), "utf-8", line_buffering=True) as stream:
        for _ in range(3):
            print("text", file=stream)
    assert capsys.readouterr().err == "The rest of the output is lost (No space left on device).\n"


def test_a_closed_stream_is_replaced_by_one_that_goes_nowhere(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    make_printing_safe()
    with sys.stderr as stream:
        print("nobody sees this", file=stream)
        assert stream.name == os.devnull


@pytest.mark.parametrize("how", [{"line_buffering": True}, {"write_through": True}])
def test_the_standard_streams_become_safe_and_keep_their_settings(monkeypatch, how):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "latin-1", **how)
    monkeypatch.setattr(sys, "stdout", stream)
    make_printing_safe()
    print("λ ö")
    assert type(sys.stdout) is SafeStream
    assert raw.getvalue() == "? ö\n".encode("latin-1")


def test_streams_of_others_such_as_pytest_stay(monkeypatch):
    theirs = io.StringIO()
    monkeypatch.setattr(sys, "stdout", theirs)
    make_printing_safe()
    assert sys.stdout is theirs


REDIRECTIONS = {"| head -n 1": "0 line\n", "2>&-": None, ">&-": "", ">&- 2>&-": ""}


@pytest.mark.parametrize("redirection", REDIRECTIONS)
def test_a_process_ends_with_success_wherever_its_output_goes(tmp_path, redirection):
    shutil.copy(streams.__file__, tmp_path)  # It is imported without gapclose, to be fast.
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import streams; streams.make_printing_safe()\n"
        "for number in range(20_000): print(number, 'line'); print('x', file=sys.stderr) if number % 5000 == 0 else 0\n"
        f"open({str(tmp_path / 'done')!r}, 'w').close()\n"
    )
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; '{sys.executable}' -I -c \"$PROGRAM\" {redirection}"],
        env={"PROGRAM": program, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert (tmp_path / "done").exists()
    assert "Traceback" not in done.stderr
    if REDIRECTIONS[redirection] is not None:
        assert done.stdout == REDIRECTIONS[redirection]


def test_control_characters_in_logs_are_replaced(monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(written)])
    for _ in range(2):
        make_logs_printable()
    logging.getLogger("gapclose").warning("the run %s\tof %d", "\x1b[2J\x9b1m", 5)
    assert written.getvalue() == "the run �[2J�1m\tof 5\n"
    assert len(logging.getLogger().handlers[0].filters) == 1
