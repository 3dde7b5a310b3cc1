"""The one exception for what a user can put right, and how a command ends on it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


class UserError(ValueError):
    """Says what was given, what is expected and what to do, in one sentence.

    The entry points print it without a traceback and exit with code 1.
    """


class Interrupted(BaseException):
    """A run was stopped from outside; says how to go on with it."""


def fail(sentence: str) -> NoReturn:
    """Prints the sentence and exits with code 1."""
    print(f"Error: {sentence}", file=sys.stderr)
    sys.exit(1)


def unusable(error: OSError) -> str:
    """Which file or folder cannot be used, and why."""
    return f"{error.filename2 or error.filename} cannot be used ({error.strerror})"


@contextmanager
def command() -> Iterator[None]:
    """Within it a command runs: a `UserError` or a file that cannot be used ends it by `fail`, Ctrl-C with code 130."""
    try:
        yield
    except UserError as error:
        fail(str(error))
    except OSError as error:
        if not error.filename:
            raise
        fail(f"{unusable(error)}; move away what is in its place, or choose another.")
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
