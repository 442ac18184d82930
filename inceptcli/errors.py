"""Errors that the command line prints as one line, without a traceback."""


class UserError(Exception):
    """The work or part of it failed because of its input or environment: exit code 1.

    The message is one sentence with place, rule, value and, if there is one, remedy.
    """

    exit_code = 1


class UsageError(UserError):
    """Wrong flags, recipe or paths: exit code 2."""

    exit_code = 2


class MissingFile(UsageError):  # noqa: N818 - named after the cause
    """A given file or folder does not exist."""
