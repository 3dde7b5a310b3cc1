"""Makes printing safe: a program that stops reading our output, or a character it cannot show, must not end a run."""

import io
import os
import sys


class SafeStream(io.TextIOWrapper):
    """A stream that replaces characters which its encoding lacks, and drops all text once nobody reads it."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            self.drop()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            self.drop()

    def drop(self) -> None:
        """Sends this and all further output nowhere."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())


def make_printing_safe() -> None:
    """Replaces the standard streams of this process by safe ones, and a closed one by one that goes nowhere."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif type(stream) is io.TextIOWrapper:
            safe = SafeStream(stream.buffer, stream.encoding, "replace", line_buffering=stream.line_buffering)
            setattr(sys, name, safe)
