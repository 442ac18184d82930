"""Files and folders that a search for images passes over, counted so that a line can say so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from inceptcli.text import printable

NUM_NAMED = 8
"""Suffixes and folders that a line names; the rest it counts."""

STORAGE_FOLDERS = frozenset(
    {"@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin"}
    | {"__macosx", "lost+found", "recycler", "system volume information"}
)
"""Thumbnails and trash of Synology, QNAP, Windows and macOS, in small letters."""

LITTER = frozenset({".ds_store", ".directory", ".gitignore", ".gitkeep", ".localized"})
"""Hidden files that no line needs to count, in small letters."""


def is_passed_over(folder: str) -> bool:
    """Whether a folder of this name is not entered: hidden, or a storage box's own."""
    return folder.startswith(".") or folder.lower() in STORAGE_FOLDERS


@dataclass
class LeftOut:
    """What was passed over.

    Attributes:
        files: How many, by suffix in small letters, or what else they are called.
        folders: How many of each name.
    """

    files: Counter[str] = field(default_factory=Counter)
    folders: Counter[str] = field(default_factory=Counter)

    def __bool__(self) -> bool:
        return bool(self.files or self.folders)

    def add_file(self, name: str, kind: str | None = None) -> None:
        """A file more, by its suffix unless `kind` says what it is."""
        self.files[kind or PurePosixPath(name).suffix.lower() or "without a suffix"] += 1

    def add_hidden(self, name: str) -> None:
        """A hidden file more, unless it is one of those that nobody put there."""
        if name.lower() not in LITTER:
            self.add_file(name, "hidden")

    def passes_over(self, member: str) -> bool:
        """Whether a file of this name in a tar file is hidden or in such a folder; counts it."""
        *folders, name = PurePosixPath(member).parts or ("",)
        if folder := next((f for f in folders if f != ".." and is_passed_over(f)), None):
            self.add_file(name, f"in {folder}")
        elif name.startswith("."):
            self.add_hidden(name)
        else:
            return False
        return True

    def add_folder(self, name: str) -> None:
        """A folder more, and all that is in it."""
        self.folders[name] += 1

    def update(self, other: LeftOut) -> None:
        """What another one counted, too."""
        self.files.update(other.files)
        self.folders.update(other.folders)

    def __str__(self) -> str:
        """Such as: left out 4 files (3 .txt, 1 without a suffix) and 1 folder (@eaDir)."""
        parts = []
        if self.files:
            kinds = [f"{count} {kind}" for kind, count in self.files.most_common()]
            parts.append(f"{_number(self.files.total(), 'file')} ({_listed(kinds)})")
        if self.folders:
            names = [name for name, _ in self.folders.most_common()]
            parts.append(f"{_number(self.folders.total(), 'folder')} ({_listed(names)})")
        return f"left out {' and '.join(parts)}"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _listed(texts: Iterable[str]) -> str:
    shown = [printable(text) for text in texts]
    others = len(shown) - NUM_NAMED
    return ", ".join([*shown[:NUM_NAMED], *([f"{others} other kinds"] if others > 0 else [])])
