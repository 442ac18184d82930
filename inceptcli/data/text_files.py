"""Text as people save it: UTF-8 or UTF-16 with a byte order mark, whoever's line ends."""

from __future__ import annotations

import codecs
import os
from functools import partial
from pathlib import Path
from unicodedata import normalize

nfc, nfd = partial(normalize, "NFC"), partial(normalize, "NFD")

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


def as_it_lies(root: Path | str, entry: str) -> str:
    r"""Where a path that somebody wrote down leads from `root`; as written where that is nowhere.

    A path of Windows such as cat\1.jpg is tried with slashes, and a name in each form of Unicode,
    NFC and NFD: lists and files have come from different systems.
    """
    path = os.path.join(root, entry)  # noqa: PTH118 (a Path would write ./a as a)
    if (entry.isascii() and "\\" not in entry) or os.path.lexists(path):
        return path
    for written in (entry, entry.replace("\\", "/")):
        place = str(root)
        for part in Path(written).parts:
            forms = (str(Path(place, form)) for form in (part, nfc(part), nfd(part)))
            place = next(filter(os.path.lexists, forms), "")
            if not place:
                break
        else:
            return place
    return path
