"""Files that a command writes: regular ones, and none of those that it reads."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from inceptcli.errors import UsageError

if TYPE_CHECKING:
    from inceptcli.prediction.inputs import Source

MAXIMUM_LINKS = 40
STANDARD_INPUT = 0


class OutputFiles:
    """The files that flags name; what is there already is known by its device and inode."""

    def __init__(self, paths: Mapping[str, Path | None]) -> None:
        """Take the paths by flag, None for a flag that is not given.

        Raises UsageError when one is no regular file, also through links, or two are the same file.
        """
        self._flags: dict[tuple[int, int], str] = {}
        places: dict[str, str] = {}
        for flag, path in paths.items():
            if path is None:
                continue
            check_regular(flag, path)
            # Two names of a file that does not exist yet have no inode to compare.
            place = os.path.realpath(path)
            first = places.setdefault(place, flag)
            if first != flag:
                raise UsageError(f"{flag} {path}: {first} names the same file")
            if (key := _key(path)) is not None:
                self._flags[key] = f"{flag} {path}"

    def check(self, inputs: Iterable[Path | str | int]) -> None:
        """UsageError when one of the inputs is an output, by whatever name; nothing is written.

        STANDARD_INPUT may be a file, too.
        """
        if not self._flags:
            return
        for path in inputs:
            written = self._flags.get(_key(path) or (-1, -1))
            if written is not None:
                name = "standard input" if path == STANDARD_INPUT else path
                raise UsageError(f"{written}: is read as {name}; name another file")

    def watch(self, sources: Iterator[Source]) -> Iterator[Source]:
        """The same images, each checked before it is passed on; of one in a tar file that."""
        from inceptcli.data.shards.index import index_path

        for source in sources:
            shard = source.in_tar and source.in_tar.shard
            self.check([source.path] if shard is None else [shard, index_path(shard)])
            yield source


def check_regular(flag: str, path: Path) -> None:
    """UsageError when `path` is there and no regular file, or is a link into /proc.

    Such as /dev/stdout, which is a regular file where the shell sends standard output to one. A
    file that takes its place would take the system's.
    """
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except OSError:  # not there, or reported by whoever writes it
        is_file = True
    if not is_file or _leads_into_proc(path):
        raise UsageError(
            f"{flag} {path}: not a regular file; results go to standard output without --output"
            if flag == "--output"
            else f"{flag} {path}: not a regular file"
        )


def _leads_into_proc(path: Path) -> bool:
    for _ in range(MAXIMUM_LINKS):
        path = Path(os.path.realpath(path.parent), path.name)
        if path.is_relative_to("/proc"):
            return True
        if not os.path.islink(path):  # noqa: PTH114 (Path raises where a folder is closed)
            return False
        path = path.parent / path.readlink()
    return False


def _key(path: Path | str | int) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 (a Path would take twice the time)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino
