"""Makes printing safe: a program that stops reading our output, a full disk or a character that cannot be shown must
not end a run.
"""

import errno
import io
import logging
import os
import sys

from gapclose.printable import printable


class SafeStream(io.TextIOWrapper):
    """A stream that replaces characters which its encoding lacks, and drops all text once it cannot be written."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self.drop(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self.drop(error)

    def drop(self, error: OSError) -> None:
        """Sends this and all further output nowhere; says so unless simply nobody reads it any more."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        if error.errno not in (errno.EPIPE, errno.EIO) and sys.stderr is not self:
            print(f"The rest of the output is lost ({error.strerror}).", file=sys.stderr)


def make_printing_safe() -> None:
    """Replaces the standard streams of this process by safe ones, and a closed one by one that goes nowhere."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif type(stream) is io.TextIOWrapper:
            how = dict(line_buffering=stream.line_buffering, write_through=stream.write_through)
            setattr(sys, name, SafeStream(stream.buffer, stream.encoding, "replace", **how))


class Printable(logging.Filter):
    """Replaces control characters in the messages of a log; they may come from a stranger's configuration."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = printable(record.getMessage()), ()
        return True


def make_logs_printable() -> None:
    """Makes all logs of this process printable, after they have been configured."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(each, Printable) for each in handler.filters):
            handler.addFilter(Printable())
