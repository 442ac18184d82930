"""Atomic writes: a file or folder is replaced completely or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

REFUSALS = {
    errno.EINVAL, errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS
}  # fmt: skip

LONGEST_NAME = 255
"""Maximum length of a file name in bytes on common file systems."""

_unfinished: dict[Path, Path] = {}
"""Temporary files being written, and the paths that they replace."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, and replace `path` by it when the block ends.

    The file is synced before and the folder after the rename, so that a power failure leaves the
    old or the new file if the file system can sync. If the block raises, the temporary file is
    removed, `path` is unchanged, and an interruption gets a note.
    """
    temporary = _beside(path)
    _unfinished[temporary] = path
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        if temporary.stat().st_mode != mode:  # safetensors allows only the owner to read it
            with refusal_allowed():
                temporary.chmod(mode)
        with temporary.open("rb") as file:
            sync(file.fileno())
        temporary.replace(path)
    except KeyboardInterrupt as stop:
        stop.add_note(_left(path))
        raise
    except OSError as error:
        if error.filename == str(temporary):  # not a name that the user gave
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
        del _unfinished[temporary]
    with refusal_allowed():  # the folder may be writable but not readable
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `path`, and move its contents there when the block ends.

    `path` is a new or empty folder. If the block raises, the temporary folder is removed and `path`
    is unchanged.
    """
    path = path.absolute()
    temporary = _beside(path)
    _unfinished[temporary] = path
    try:
        temporary.mkdir()
        yield temporary
        if path.exists():
            for file in temporary.iterdir():
                file.replace(path / file.name)
        else:
            temporary.replace(path)
    except KeyboardInterrupt as stop:
        stop.add_note(_left(path))
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        del _unfinished[temporary]


def _beside(path: Path) -> Path:
    """Return a new hidden name next to `path`, which may have the longest name there is."""
    start, end = f".{path.name}", f".{os.urandom(4).hex()}.partial"
    while len(os.fsencode(start + end)) > LONGEST_NAME:
        start = start[:-1]
    return path.with_name(start + end)


def remove_abandoned(folder: Path, name: str) -> None:
    """Remove the temporary files that killed processes left of files with a `name`, a pattern."""
    for abandoned in folder.glob(f".{name}.????????.partial"):
        with suppress(OSError):
            abandoned.unlink()


def abandon() -> list[str]:
    """Remove the unfinished files of this process before it exits; return a note for each."""
    notes = []
    for temporary, path in [*_unfinished.items()]:
        shutil.rmtree(temporary, ignore_errors=True)  # ignores files
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        notes.append(_left(path))
    return notes


def _left(path: Path) -> str:
    return f"{path} is {'unchanged' if path.exists() else 'not written'}"


def sync(file: int) -> None:
    """Flush an open file to the disk if the file system can sync.

    Raises OSError if writing fails.
    """
    with refusal_allowed():
        os.fsync(file)


@contextmanager
def refusal_allowed() -> Iterator[None]:
    """Suppress errors of file systems (NFS, Lustre, FUSE, CIFS) that lack an operation."""
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
