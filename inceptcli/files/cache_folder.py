"""Where what was fetched is kept."""

from __future__ import annotations

import os
from pathlib import Path

from inceptcli.errors import UsageError


def cache_folder() -> Path:
    """`inceptcli` in the Hugging Face hub's home folder, as its client finds that.

    Raises UsageError when that is in a home folder and there is none.
    """
    caches = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    named = os.environ.get("HF_HOME", str(caches / "huggingface"))
    try:
        folder = Path(named).expanduser()
    except RuntimeError as error:
        raise UsageError(
            f"{named}: user {os.getuid()} has no home folder to keep downloads in; set HF_HOME to "
            "a folder that can be written"
        ) from error
    return Path(os.path.expandvars(folder)) / "inceptcli"
