"""Files that are there whole or not at all."""

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


_unfinished: dict[Path, Path] = {}
"""Temporary files that are being written, and those whose place they take."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`; what was written there takes its place when the block ends.

    Synced before and after the rename, so that a power cut leaves the old file or the new one,
    where the file system can sync. When the block raises, the temporary file is removed and `path`
    stays as it was, which an interruption has a note of.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.partial")
    _unfinished[temporary] = path
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        if temporary.stat().st_mode != mode:  # safetensors leaves its file to its owner alone
            with refusal_allowed():
                temporary.chmod(mode)
        with temporary.open("rb") as file:
            sync(file.fileno())
        temporary.replace(path)
    except KeyboardInterrupt as stop:
        stop.add_note(_left(path))
        raise
    except OSError as error:
        if error.filename == str(temporary):  # a name that nobody gave
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
        del _unfinished[temporary]
    with refusal_allowed():  # also where a folder may be written and not read
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, a new or empty folder that has what is in it at the end.

    When the block raises, it is removed and `path` stays as it was.
    """
    path = path.absolute()
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.partial")
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


def abandon() -> list[str]:
    """Remove what this process has half written, before it leaves at once; notes of each."""
    notes = []
    for temporary, path in [*_unfinished.items()]:
        shutil.rmtree(temporary, ignore_errors=True)  # which leaves what is no folder
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        notes.append(_left(path))
    return notes


def _left(path: Path) -> str:
    return f"{path} is {'as it was' if path.exists() else 'not written'}"


def sync(file: int) -> None:
    """Have an open file's bytes written to the disk, where the file system can.

    Raises OSError when they cannot be written.
    """
    with refusal_allowed():
        os.fsync(file)


@contextmanager
def refusal_allowed() -> Iterator[None]:
    """Suppresses the answer of a file system (NFS, Lustre, FUSE, CIFS) that does not do this."""
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
