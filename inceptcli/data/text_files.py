"""Read text files in UTF-8 or UTF-16, and resolve paths listed in them."""

from __future__ import annotations

import codecs
import os
from functools import partial
from pathlib import Path
from unicodedata import normalize

from inceptcli.errors import UsageError, UserError
from inceptcli.files.regular_file import read_regular

MAXIMUM_BYTES = 256 * 1024**2

nfc, nfd = partial(normalize, "NFC"), partial(normalize, "NFD")

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def text_of(content: bytes) -> str:
    """Decode a file: UTF-16 if it begins with a byte order mark of it, else UTF-8.

    Bytes that are not UTF-8 become surrogates.

    Raises:
        ValueError: there are NUL characters, as in UTF-16 without a byte order mark.
    """
    if content.startswith(UTF_16):
        text = content.decode("utf-16", "replace")
    else:
        text = content.decode("utf-8-sig", "surrogateescape")
    if "\0" in text:
        raise ValueError("has NUL characters; save it as UTF-8")
    return text


def read_text(file: Path, flag: str | None = None) -> str:
    """Read a text file; see `text_of`.

    Raises UsageError if it cannot be read and is the value of a `flag`, else UserError.
    """
    try:
        return text_of(read_regular(file, MAXIMUM_BYTES))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        if flag is None:
            raise UserError(f"{file}: {reason}") from error
        raise UsageError(f"{flag} {file}: {reason}") from error


def as_it_lies(root: Path | str, entry: str) -> str:
    r"""Return the existing path that `entry` means from `root`, or the path as written.

    Tries Windows paths such as cat\1.jpg with slashes, and names in both Unicode normalizations,
    NFC and NFD, since lists and files may come from different systems.
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
