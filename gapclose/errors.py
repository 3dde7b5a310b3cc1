"""The one exception for what a user can put right."""


class UserError(ValueError):
    """Says what was given, what is expected and what to do, in one sentence.

    The entry points print it without a traceback and exit with code 1.
    """
