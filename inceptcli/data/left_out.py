"""Count the files and folders that a search for images leaves out, and describe them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from inceptcli.text import printable

NUM_NAMED = 8
"""Maximum number of suffixes or folders named in a line; others are counted."""

STORAGE_FOLDERS = frozenset(
    {"@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "$recycle.bin"}
    | {"__macosx", "lost+found", "recycler", "system volume information"}
)
"""Thumbnails and trash of Synology, QNAP, Windows and macOS, in lowercase."""

LITTER = frozenset({".ds_store", ".directory", ".gitignore", ".gitkeep", ".localized"})
"""Hidden files that are not counted, in lowercase."""


def is_passed_over(folder: str) -> bool:
    """Return whether a folder of this name is skipped: hidden, or a storage device's own."""
    return folder.startswith(".") or folder.lower() in STORAGE_FOLDERS


@dataclass
class LeftOut:
    """Counts of files and folders left out.

    Attributes:
        files: Number of files by lowercase suffix, or by another kind.
        folders: Number of folders by name.
    """

    files: Counter[str] = field(default_factory=Counter)
    folders: Counter[str] = field(default_factory=Counter)

    def __bool__(self) -> bool:
        return bool(self.files or self.folders)

    def add_file(self, name: str, kind: str | None = None) -> None:
        """Count a file by `kind`, by default its suffix."""
        self.files[kind or PurePosixPath(name).suffix.lower() or "without a suffix"] += 1

    def add_hidden(self, name: str) -> None:
        """Count a hidden file, unless it is litter of the system or an unfinished file of ours."""
        if name.lower() not in LITTER and not name.endswith(".partial"):
            self.add_file(name, "hidden")

    def passes_over(self, member: str) -> bool:
        """Return whether a tar member is hidden or in a skipped folder; count it if so."""
        *folders, name = PurePosixPath(member).parts or ("",)
        if folder := next((f for f in folders if f != ".." and is_passed_over(f)), None):
            self.add_file(name, f"in {folder}")
        elif name.startswith("."):
            self.add_hidden(name)
        else:
            return False
        return True

    def add_folder(self, name: str) -> None:
        """Count a folder; its contents are not counted."""
        self.folders[name] += 1

    def update(self, other: LeftOut) -> None:
        """Add the counts of `other`."""
        self.files.update(other.files)
        self.folders.update(other.folders)

    def __str__(self) -> str:
        """Return a line such as: left out 4 files (3 .txt, 1 .psd) and 1 folder (@eaDir)."""
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
