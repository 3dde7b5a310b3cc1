"""The exception for errors that a user can fix, and how a command reports it and exits.

The sentences for errors of other libraries are in `gapclose.explanation`.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from gapclose.printable import printable
from gapclose.streams import make_printing_safe

LONGEST = 2000
"""Maximum length of a sentence; only names from outside are longer."""


class UserError(ValueError):
    """An error that a user can fix. Its message is one sentence: what was given, what is expected, what to do.

    The entry points print it without a traceback and exit with code 1.
    """


class Interrupted(BaseException):
    """A run was interrupted by Ctrl-C. The message says how to resume it.

    `gapclose.runs.jobs.train` raises it, and `gapclose.runs.command_line.entry` prints it. Lightning turns Ctrl-C into
    `SystemExit`, which `gapclose.training.stage` turns back into `KeyboardInterrupt`.
    """


def fail(sentence: str) -> NoReturn:
    """Prints the sentence in one line, which names from outside cannot break, and exits with code 1."""
    line = " ".join(printable(sentence).splitlines())
    print(f"Error: {line if len(line) < LONGEST else line[:LONGEST] + '…'}", file=sys.stderr)
    sys.exit(1)


def describe_file_error(error: OSError) -> str:
    """Returns a phrase that names the file or folder that cannot be used, and why."""
    return f"{error.filename2 or error.filename} cannot be used ({error.strerror})"


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Reports the errors of a command that runs in this context, and exits.

    The exit code is 1 for a `UserError` or a file that cannot be used, and 130 for Ctrl-C. Other errors are raised.
    For sweeps, report and dashboards; train, plan and diagnose do this in `gapclose.runs.command_line.entry`.
    """
    make_printing_safe()
    try:
        yield
    except UserError as error:
        fail(str(error))
    except OSError as error:
        if not error.filename:
            raise
        fail(f"{describe_file_error(error)}; move it, or choose another path.")
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
