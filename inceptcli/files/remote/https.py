"""Download files from https addresses with the standard library.

fsspec's HTTP file system cannot resume downloads or compare validators, hides the server's errors,
and follows redirects to http.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import quote

from inceptcli.files.remote.address import Address
from inceptcli.files.remote.transport import Begun, FetchError, PartRefusedError, Reply

TIMEOUT = 60.0
"""Seconds without a response."""

CHUNK = 1024**2
ABSENT = {403, 404, 410}
"""HTTP statuses of missing files; object stores return 403."""

LEADS_AWAY = "redirects to an address without https"
TRANSIENT = {408, 425, 429}


class _HttpsAlone(request.HTTPRedirectHandler):
    def redirect_request(
        self, req: request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> request.Request | None:
        if not newurl.startswith("https://"):
            raise FetchError(LEADS_AWAY)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Https:
    """Transport for https; follows redirects only to https."""

    attempts = 3

    @contextmanager
    def open(
        self, address: Address, begun: Begun | None, known: str | None
    ) -> Iterator[Reply | None]:
        """Open a file as `Transport.open` describes."""
        headers = {"User-Agent": "inceptcli", "Accept-Encoding": "identity"}
        if begun:
            headers |= {"Range": f"bytes={begun.size}-", "If-Range": begun.validator}
        elif known:
            is_date = not known.endswith('"')
            headers["If-Modified-Since" if is_date else "If-None-Match"] = known
        try:
            with _opener().open(_request(address, headers), timeout=TIMEOUT) as answer:
                yield _reply(answer, begun)
        except HTTPError as error:
            error.close()
            if error.code == 304:
                yield None
                return
            if error.code == 416 and begun:
                raise PartRefusedError from error
            if 300 <= error.code < 400:  # urllib itself refuses the scheme
                raise FetchError(LEADS_AWAY) from error
            raise FetchError(
                f"HTTP {error.code}",
                is_answer=error.code < 500 and error.code not in TRANSIENT,
                is_absent=error.code in ABSENT,
            ) from error
        except URLError as error:
            if isinstance(error.reason, OSError):
                raise error.reason from error
            raise


def _request(address: Address, headers: dict[str, str]) -> request.Request:
    return request.Request(quote(address.text, safe=string.punctuation), headers=headers)


def _opener() -> request.OpenerDirector:
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.HTTPSHandler(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
        _HttpsAlone(),
    ):
        opener.add_handler(handler)
    return opener


def _reply(answer: Any, begun: Begun | None) -> Reply:
    etag = answer.headers.get("ETag")
    strong = bool(etag and etag.startswith('"'))
    size, start = answer.length, 0
    if answer.status == 206:
        part = re.fullmatch(
            r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", answer.headers.get("Content-Range", "")
        )
        if begun is None or part is None or int(part[1]) != begun.size or etag != begun.validator:
            raise PartRefusedError
        start, size = begun.size, None if part[2] == "*" else int(part[2])
    elif answer.status != 200:
        raise FetchError(f"HTTP {answer.status}")
    validator = etag or answer.headers.get("Last-Modified")
    return Reply(iter(lambda: answer.read(CHUNK), b""), start, size, validator, strong)
