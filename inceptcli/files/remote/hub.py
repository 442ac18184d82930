"""Files at hf addresses, downloaded and cached by the Hugging Face hub client."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from inceptcli.files.remote.address import Address
from inceptcli.files.remote.transport import FetchError

_FILE = re.compile(
    r"hf://(?:(datasets|spaces)/)?([^/@]+/[^/@]+)(?:@(refs/(?:pr|convert)/[^/]+|[^/]+))?/(.+)"
)


class HubFile(NamedTuple):
    """A file of a repository, with the field names of the client's functions."""

    repo_id: str
    filename: str
    repo_type: str | None
    revision: str | None


def prepare() -> None:
    """Set the environment variables that the client reads on import; turn its telemetry off."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")


def hub_file(address: Address) -> HubFile:
    """Return the repository, the file and the revision of an address."""
    found = _FILE.fullmatch(address.text)
    if found is None:
        raise FetchError("must name a file of a repository")
    kind = found[1] and found[1].removesuffix("s")
    return HubFile(found[2], found[4], kind, found[3] and unquote(found[3]))


def hub_copy(address: Address, most: int | None) -> Path:
    """Return an up-to-date file in the client's cache; download it if needed.

    Raises FetchError if the file is unavailable or has more than `most` bytes.
    """
    prepare()
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from tqdm.std import tqdm

    class Silent(tqdm):  # type: ignore[misc]  # untyped
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "disable": True})

    file = hub_file(address)
    try:
        if most is not None and not HF_HUB_OFFLINE:
            size = get_hf_file_metadata(hf_hub_url(**file._asdict())).size
            if size is not None and size > most:
                raise FetchError(f"{size} bytes, over the limit of {most}")
        return Path(hf_hub_download(**file._asdict(), tqdm_class=Silent))
    except FetchError:
        raise
    except Exception as error:  # the client's libraries raise many types
        raise _unavailable(error) from error


def kept_copy(address: Address) -> Path | None:
    """Return the file in the client's cache, without the network; None if it is not there.

    It is beside the others of its commit: a newer one may lack some of them.
    """
    prepare()
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(**hub_file(address)._asdict())
    return Path(found) if isinstance(found, str) else None


def _unavailable(error: Exception) -> FetchError:
    cause = error.__cause__ or error
    response = getattr(cause, "response", getattr(error, "response", None))
    status = getattr(response, "status_code", None)
    if status is None:
        first = (str(cause).splitlines() or [""])[0][:300] or type(cause).__name__
        return FetchError(first, is_answer=False)
    return FetchError(f"HTTP {status}", is_answer=status < 500, is_absent=status in (401, 404))
