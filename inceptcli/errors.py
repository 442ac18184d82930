"""The errors that the command line prints as one line, never as a traceback."""


class UserError(Exception):
    """The work failed, or part of it did, for a reason in what was read: exit code 1.

    The message is one sentence that names place, rule, value and, where there is one, the remedy.
    """

    exit_code = 1


class UsageError(UserError):
    """Wrong flags, recipe or paths: exit code 2."""

    exit_code = 2


class MissingFile(UsageError):  # noqa: N818 - it names what is missing
    """A file or folder that was named is not there."""
