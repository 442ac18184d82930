"""A server of files by https on 127.0.0.1, well or badly behaved, and its certificate."""

from __future__ import annotations

import hashlib
import re
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

OPENSSL = shutil.which("openssl")


class Server(ThreadingHTTPServer):
    """Serves the files of a folder by https, well or badly.

    Attributes:
        cut: How many answers still end after half of their bytes.
        cuts: The suffixes of the files that this happens to.
        ranges: Whether a part of a file can be had.
        conditions: Whether it looks at If-Range.
        validator: `strong`, `weak` or empty: what kind of ETag it states.
        leads_to: Where every request is sent on, if anywhere.
        status: What every request is answered with, when not 200.
        claims: Bytes that it states more than it has; None states none.
        asked: The path of each request, and the range.
    """

    def __init__(self, folder: Path, certificate: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.cut, self.ranges, self.leads_to = folder, 0, True, ""
        self.cuts, self.conditions = (".tar", ".jpg"), True
        self.validator, self.status = "strong", 200
        self.claims: int | None = 0
        self.asked: list[tuple[str, str | None]] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not trust the certificate is no news."""

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server_port}"

    def shards(self) -> list[str]:
        return [path for path, _ in self.asked if path.endswith(".tar")]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, part = self.server, self.headers.get("Range")
        server.asked.append((self.path, part))
        path = server.folder / unquote(self.path[1:].partition("?")[0])
        if server.leads_to:
            self.send_response(302)
            self.send_header("Location", server.leads_to + self.path)
            self.end_headers()
            return
        if server.status != 200 or not path.is_file():
            self.send_error(server.status if server.status != 200 else 404)
            return
        content = path.read_bytes()
        etag = {"strong": "", "weak": "W/", "": None}[server.validator]
        if etag is not None:
            etag += f'"{hashlib.md5(content).hexdigest()}"'
        if etag and self.headers.get("If-None-Match") == etag:
            self.send_response(304)
            self.end_headers()
            return
        start = self._start(etag)
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if etag:
            self.send_header("ETag", etag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        content = content[start:]
        if server.claims is not None:
            self.send_header("Content-Length", str(len(content) + server.claims))
        self.end_headers()
        if path.suffix in server.cuts and server.cut:
            server.cut -= 1
            content = content[: len(content) // 2]
        self.wfile.write(content)

    def _start(self, etag: str | None) -> int:
        part, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if (
            not part
            or not self.server.ranges
            or (self.server.conditions and condition and condition != etag)
        ):
            return 0
        found = re.fullmatch("bytes=([0-9]+)-", part)
        assert found
        return int(found[1])

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


def make_certificate(folder: Path) -> Path:
    """A certificate of 127.0.0.1 with its key; to trust it is NAME.crt."""
    path = folder / "certificate.pem"
    subprocess.run(
        [
            str(OPENSSL), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
            "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", f"{path}.crt",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    with path.open("a") as file:
        file.write(Path(f"{path}.crt").read_text())
    return path


@contextmanager
def serving(folder: Path, certificate: Path) -> Iterator[Server]:
    """The files of a folder, until the block ends."""
    with Server(folder, certificate) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
