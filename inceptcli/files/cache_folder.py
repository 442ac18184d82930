"""The folder for downloaded files."""

from __future__ import annotations

import os
from pathlib import Path

from inceptcli.errors import UsageError


def cache_folder() -> Path:
    """Return the folder `inceptcli` in HF_HOME, located as the Hugging Face client does.

    Raises UsageError if it lies in a home folder and the user has none.
    """
    caches = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    named = os.environ.get("HF_HOME", str(caches / "huggingface"))
    try:
        folder = Path(named).expanduser()
    except RuntimeError as error:
        raise UsageError(
            f"{named}: user {os.getuid()} has no home folder for downloads; set HF_HOME to a "
            "writable folder"
        ) from error
    return Path(os.path.expandvars(folder)) / "inceptcli"
