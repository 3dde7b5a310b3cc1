"""The one exception for what a user can put right, and how a command ends on it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


class UserError(ValueError):
    """Says what was given, what is expected and what to do, in one sentence.

    The entry points print it without a traceback and exit with code 1.
    """


def fail(sentence: str) -> NoReturn:
    """Prints the sentence and exits with code 1."""
    print(f"Error: {sentence}", file=sys.stderr)
    sys.exit(1)


@contextmanager
def command() -> Iterator[None]:
    """Within it a command runs: a `UserError` ends it by `fail`, and Ctrl-C with code 130."""
    try:
        yield
    except UserError as error:
        fail(str(error))
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
