"""Addresses of remote files: parse, check and redact them."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import NamedTuple
from urllib.parse import unquote

from inceptcli.errors import UsageError
from inceptcli.text import printable

SCHEMES = ("https", "s3", "gs", "hf")
"""Supported schemes; all but `https` can list files."""

EXTRAS = {"s3": "s3fs", "gs": "gcsfs"}
"""Required library by scheme; the extra has the name of the scheme."""

LONGEST = 4096

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(?:://|::)|(?i:(pipe|file|local|memory):)")
_FORMS = {
    "https": re.compile(r"https://[^/?#@\[\]\\]+/[^\\]*"),
    "s3": re.compile(r"s3://[A-Za-z0-9][A-Za-z0-9._-]{1,254}/.*"),
    "gs": re.compile(r"gs://[A-Za-z0-9][A-Za-z0-9._-]{1,254}/.*"),
    "hf": re.compile(r"hf://(?:(?:datasets|spaces)/)?[\w.-]+/[\w.-]+(?:@[^/]+)?/.*", re.ASCII),
}
_EXAMPLES = {
    "https": "https://host/cat.jpg",
    "s3": "s3://bucket/cat.jpg",
    "gs": "gs://bucket/cat.jpg",
    "hf": "hf://datasets/owner/name/cat.jpg",
}

_SECRET = re.compile("sig|token|key|cred|secret|pass|auth|policy|code|session", re.IGNORECASE)
_LONGEST_SHOWN = 20
"""Maximum length of a query value that is shown; signatures and tokens are longer."""


class Address(NamedTuple):
    """An address accepted by `parse`, as given."""

    scheme: str
    text: str

    @property
    def place(self) -> str:
        """The address without its query; only https has one."""
        return re.split("[?#]", self.text)[0] if self.scheme == "https" else self.text

    @property
    def key(self) -> str:
        """The address without scheme and slashes, as fsspec names files."""
        return self.text.partition("://")[2]

    @property
    def name(self) -> str:
        """The last part of the path; empty for a folder."""
        return self.place.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """The address up to the name, including the last slash."""
        return self.place.removesuffix(self.name) if self.name else self.place

    @property
    def is_pattern(self) -> bool:
        """Whether the address has wildcards; in https, a question mark begins the query."""
        return any(sign in self.place for sign in ("*" if self.scheme == "https" else "*?["))

    def __str__(self) -> str:
        return redacted(self.text)


def scheme_of(text: str) -> str | None:
    """Return the scheme of an address in lower case, supported or not; None for a local path."""
    found = _SCHEME.match(text)
    return found and (found[1] or found[2]).lower()


def parse(text: str) -> Address:
    """Check and parse an address without network access.

    Raises UsageError for an unsupported scheme, a chain such as `zip::s3://`, a password in the
    address, a missing host, bucket or repository, and a library that is not installed.
    """
    scheme, shown = scheme_of(text), redacted(text)
    if scheme not in SCHEMES or "::" in text:
        what = "a chain of addresses" if "::" in text else f"{scheme}:"
        raise UsageError(
            f"{shown[:200]}: {what} is not supported, and no command is run; give a local path or "
            f"an address that begins with {', '.join(f'{known}://' for known in SCHEMES)}"
        )
    if len(text) > LONGEST or not text.isprintable():
        raise UsageError(
            f"{shown[:200]}: must have at most {LONGEST} characters and no control characters"
        )
    address = Address(scheme, text[: len(scheme)].lower() + text[len(scheme) :])
    if "@" in address.key.partition("/")[0]:
        raise UsageError(f"{shown}: must not contain a user name or password; remove it")
    if not _FORMS[scheme].fullmatch(address.text):
        raise UsageError(f"{shown}: must be like {_EXAMPLES[scheme]}")
    parts = address.place.split("/")[3:]
    if scheme == "https":
        parts = [part for text in parts for part in unquote(text).split("/")]
    if {".", ".."} & {*parts} or "" in parts[:-1]:
        raise UsageError(f"{shown}: must not contain an empty path part, . or ..")
    if scheme in EXTRAS and find_spec(EXTRAS[scheme]) is None:
        raise UsageError(
            f"{shown}: {scheme}:// needs {EXTRAS[scheme]}; pip install 'inceptcli[{scheme}]'"
        )
    return address


def joined(folder: str, path: str) -> Address:
    """Return the address of a path in a remote list; `folder` is the folder of the list.

    Raises UsageError as `parse` does, and for a path that begins with a slash or a drive.
    """
    if scheme_of(path):
        return parse(path)
    path = path.replace("\\", "/")
    if path.startswith("/") or re.match("[A-Za-z]:", path):
        raise UsageError(f"{redacted(path)[:200]}: a remote list cannot name a local file")
    return parse(folder + path.removeprefix("./"))


def redacted(text: str) -> str:
    """Return an address for messages: without password, and with secrets in its query as dots.

    A query value is secret if its name suggests it (Signature, token, key ...) or if it is long.
    """
    text = re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*:+//)[^/?#]*@", r"\1...@", text)
    place, mark, query = text.partition("?")
    if mark and text[:8].lower() == "https://":
        query = "&".join(map(_shown_pair, query.split("&")))
    return printable(place + mark + query)


def _shown_pair(pair: str) -> str:
    name, equals, value = pair.partition("=")
    if not equals:
        return pair if len(pair) <= _LONGEST_SHOWN else "..."
    hidden = _SECRET.search(name) or len(value) > _LONGEST_SHOWN
    return f"{name}={'...' if hidden else value}"


def data_address(data: str) -> Address:
    """Parse the address given with `--data`; error messages name the flag."""
    try:
        return parse(data)
    except UsageError as error:
        raise UsageError(f"--data {error}") from error
