"""Errors of the command line as ordinary Python errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from inceptcli.errors import MissingFile, UsageError, UserError


@contextmanager
def python_errors() -> Iterator[None]:
    """Turn a UsageError into ValueError and a UserError into RuntimeError, an OSError's into that.

    Messages stay as they are: place, rule, value, remedy. Some name the option of the command line
    that sets the argument.
    """
    try:
        yield
    except UserError as error:
        raise python_error(error) from error


def python_error(error: UserError, path: str | None = None) -> Exception:
    """Return the ordinary error for one of ours; `path` is named where its message does not."""
    cause = error.__cause__
    if path is not None and isinstance(cause, OSError) and cause.errno is not None:
        return type(cause)(cause.errno, cause.strerror, path)
    message = str(error) if path is None else f"{path}: {error}"
    if isinstance(error, MissingFile):
        return FileNotFoundError(message)
    return ValueError(message) if path or isinstance(error, UsageError) else RuntimeError(message)
