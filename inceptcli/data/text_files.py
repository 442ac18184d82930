"""Text as people save it: UTF-8 or UTF-16 with a byte order mark, whoever's line ends."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def text_of(content: bytes) -> str:
    """The text of a file: UTF-16 where it begins with its mark, else UTF-8 with or without one.

    Names that are not UTF-8 keep their bytes as surrogates. Raises ValueError for NUL characters,
    which UTF-16 without a mark is full of.
    """
    if content.startswith(UTF_16):
        text = content.decode("utf-16", "replace")
    else:
        text = content.decode("utf-8-sig", "surrogateescape")
    if "\0" in text:
        raise ValueError("has NUL characters; save it as UTF-8")
    return text


def with_slashes(path: Path) -> Path:
    r"""A path of Windows such as cat\1.jpg with slashes, where only that leads somewhere."""
    if "\\" in str(path) and not os.path.lexists(path):
        other = Path(str(path).replace("\\", "/"))
        return other if os.path.lexists(other) else path
    return path
