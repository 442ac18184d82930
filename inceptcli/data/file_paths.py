"""A compact sequence of file paths."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

PART = 1000
"""Number of paths to convert at a time."""

FolderFiles = tuple[str, list[str]]
"""A folder's path, empty for the current folder, and names of files in it."""


@dataclass(frozen=True, eq=False)
class FilePaths(Sequence[Path]):
    """File paths, at 16 bytes each in addition to the file name; a Path takes over 300.

    Worker processes share its few objects, since reading a path changes no reference count of them.

    Attributes:
        folders: Each folder's path; empty for the current folder.
        folder_of: Position in `folders` of each path, (N,).
        names: File names one after the other, in UTF-8; other bytes are kept as surrogates.
        starts: Position in `names` of each path's file name, (N,).
        lengths: Length of each path's file name in bytes, (N,).
    """

    folders: tuple[str, ...]
    folder_of: NDArray[np.int32]
    names: bytes
    starts: NDArray[np.int64]
    lengths: NDArray[np.int32]

    @classmethod
    def of(cls, paths: Iterable[str | Path]) -> FilePaths:
        """Return the paths in their order."""
        split = (os.path.split(os.fspath(path)) for path in paths)
        grouped = groupby(split, key=lambda parts: parts[0])
        return cls.in_folders((folder, [name for _, name in files]) for folder, files in grouped)

    @classmethod
    def in_folders(cls, groups: Iterable[FolderFiles]) -> FilePaths:
        """Return the paths of files listed by folder; a folder may occur several times."""
        number_of: dict[str, int] = {}
        folder_of, lengths, names = [], [], []
        for folder, files in groups:
            number = number_of.setdefault(folder, len(number_of))
            folder_of.append(np.full(len(files), number, np.int32))
            joined = "".join(files)
            encoded = files if joined.isascii() else list(map(_encoded, files))
            lengths.append(np.fromiter(map(len, encoded), np.int32, len(files)))
            names.append(_encoded(joined))
        length_of = np.concatenate(lengths or [np.empty(0, np.int32)])
        starts = np.cumsum(length_of, dtype=np.int64) - length_of
        folders = np.concatenate(folder_of or [np.empty(0, np.int32)])
        return cls(tuple(number_of), folders, b"".join(names), starts, length_of)

    @classmethod
    def joined(cls, parts: Sequence[FilePaths]) -> FilePaths:
        """Return the paths of all parts, one part after the other."""
        if not parts:
            return cls.in_folders(())
        folders = np.cumsum([0, *(len(part.folders) for part in parts)])
        bytes_before = np.cumsum([0, *(len(part.names) for part in parts)])
        return cls(
            tuple(folder for part in parts for folder in part.folders),
            _shifted([part.folder_of for part in parts], folders).astype(np.int32),
            b"".join(part.names for part in parts),
            _shifted([part.starts for part in parts], bytes_before),
            np.concatenate([part.lengths for part in parts]),
        )

    def __len__(self) -> int:
        """Return the number of paths."""
        return len(self.starts)

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice) -> FilePaths: ...

    def __getitem__(self, index: int | slice) -> Path | FilePaths:
        """Return a path, or a part of the paths."""
        if isinstance(index, slice):
            return self.where(index)
        return Path(self.text(index))

    def __iter__(self) -> Iterator[Path]:
        """Yield the paths."""
        return map(Path, self.texts())

    def __eq__(self, other: object) -> bool:
        """Return whether `other` is a sequence of the same paths."""
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(one == another for one, another in zip(self, other, strict=True))

    def text(self, index: int) -> str:
        """Return a path as text."""
        start = int(self.starts[index])
        name = self.names[start : start + int(self.lengths[index])]
        return os.path.join(self.folders[self.folder_of[index]], _decoded(name))  # noqa: PTH118

    def texts(self) -> Iterator[str]:
        """Yield the paths as text."""
        prefixes = [os.path.join(folder, "") if folder else "" for folder in self.folders]  # noqa: PTH118
        for at in range(0, len(self), PART):
            folders = self.folder_of[at : at + PART].tolist()
            yield from (
                prefixes[folder] + name
                for folder, name in zip(folders, self._names(slice(at, at + PART)), strict=True)
            )

    def _names(self, some: slice) -> Iterator[str]:
        """Yield some of the file names; decode all at once if they follow one another."""
        starts, ends = self.starts[some], self.starts[some] + self.lengths[some]
        if np.array_equal(starts[1:], ends[:-1]):
            found = self.names[starts[0] : ends[-1]]
            if found.isascii():
                text, first = found.decode(), starts[0]
                bounds = zip((starts - first).tolist(), (ends - first).tolist(), strict=True)
                return (text[start:end] for start, end in bounds)
        bounds = zip(starts.tolist(), ends.tolist(), strict=True)
        return (_decoded(self.names[start:end]) for start, end in bounds)

    def where(self, chosen: NDArray[np.bool_] | slice) -> FilePaths:
        """Return the paths for which `chosen` (N,) is true, or a part of them."""
        return replace(
            self,
            folder_of=self.folder_of[chosen],
            starts=self.starts[chosen],
            lengths=self.lengths[chosen],
        )


def _shifted(columns: Sequence[NDArray[np.integer]], by: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([column + shift for column, shift in zip(columns, by, strict=False)])


def _encoded(name: str) -> bytes:
    """Encode a name; surrogates, which stand for other bytes, are encoded like other characters."""
    return name.encode(errors="surrogatepass")


def _decoded(name: bytes) -> str:
    return name.decode(errors="surrogatepass")
