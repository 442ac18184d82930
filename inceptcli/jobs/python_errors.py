"""Convert errors of the command line to standard Python errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from inceptcli.errors import MissingFile, UsageError, UserError


@contextmanager
def python_errors() -> Iterator[None]:
    """Convert a UserError of the block to a standard Python error.

    UsageError becomes ValueError, MissingFile FileNotFoundError, any other UserError RuntimeError.
    Messages are unchanged, so some name the command-line option that corresponds to an argument.
    """
    try:
        yield
    except UserError as error:
        raise python_error(error) from error


def python_error(error: UserError, path: str | None = None) -> Exception:
    """Return the standard error for a UserError; add `path` to a message that lacks it."""
    cause = error.__cause__
    if path is not None and isinstance(cause, OSError) and cause.errno is not None:
        return type(cause)(cause.errno, cause.strerror, path)
    message = str(error) if path is None else f"{path}: {error}"
    if isinstance(error, MissingFile):
        return FileNotFoundError(message)
    of_image = path is not None
    return (
        ValueError(message) if of_image or isinstance(error, UsageError) else RuntimeError(message)
    )
