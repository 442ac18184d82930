"""Open files for writing without following symbolic links."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

from inceptcli.errors import UsageError


def open_no_follow(path: Path, mode: str, newline: str | None = None) -> IO[Any]:
    """Open `path` as `Path.open` does; raise OSError if it is a link."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NOFOLLOW, 0o666)

    errors = None if "b" in mode else "replace"
    return open(path, mode, newline=newline, errors=errors, opener=opener)


def check_no_links(folder: Path, flag: str, files: Collection[str] = ()) -> None:
    """Raise UsageError if `folder` contains anything but regular files and folders.

    None of `files` may be a folder. A run directory from another user may contain links to files
    outside of it, which the run would change.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:  # missing, or reported when it is written
        return
    for entry in entries:
        try:
            kind = entry.stat(follow_symlinks=False).st_mode
        except FileNotFoundError:  # another process has just renamed its unfinished file
            continue
        is_folder = stat.S_ISDIR(kind)
        if not stat.S_ISREG(kind) and (not is_folder or entry.name in files):
            other = "a folder" if is_folder else "neither a file nor a folder"
            what = "a link" if stat.S_ISLNK(kind) else other
            raise UsageError(
                f"{flag} {folder}: {entry.name} is {what}, which a run directory must not contain; "
                "remove it"
            )
