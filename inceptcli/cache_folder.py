"""Where what was fetched is kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`inceptcli` in the Hugging Face hub's home folder, as its client finds that."""
    caches = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"))
    named = os.environ.get("HF_HOME", str(caches / "huggingface"))
    return Path(os.path.expandvars(Path(named).expanduser())) / "inceptcli"
