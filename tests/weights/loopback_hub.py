"""As much of the Hugging Face hub as a download needs, on 127.0.0.1."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from safetensors.numpy import save

from inceptcli.data.preprocessing import Preprocessing
from inceptcli.networks.registry import network_options
from inceptcli.weights.imagenet_classes import imagenet_classes
from inceptcli.weights.metadata import WeightsMetadata

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def kept_file(note: dict[str, str], network: str = "iv4-tf", classes: int = 1000) -> bytes:
    """What `obtain` keeps of the published weights that `note` is about, but for the tensors."""
    metadata = WeightsMetadata(
        network_options(network, num_classes=classes),
        imagenet_classes()[:classes],
        Preprocessing((299, 299)),
        source_sha256=note["sha256"],
        source=note,
    )
    return save({}, metadata.to_header())


class Hub(ThreadingHTTPServer):
    """Serves one file as the model.safetensors of every repository, well or badly.

    Attributes:
        file: What the hub has; its size and sha256 are what it states.
        sent: What goes over the wire instead.
        cut: Whether connections end after half of a file, and no range of one can be had.
        status: What every request is answered with, when not 200.
        asked: Method and path of each request so far.
    """

    def __init__(self, file: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.file = self.sent = file
        self.cut, self.status = False, 200
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def environment(self, home: Path, **changes: str) -> dict[str, str]:
        """Of a process that knows no hub but this one, with its cache in `home`."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        ours = {"HF_HOME": str(home), "HF_ENDPOINT": self.url, "NO_PROXY": "127.0.0.1"}
        return {**kept, **ours, "OMP_NUM_THREADS": "1", **changes}


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        if self._begins(len(self.server.file)):
            self.end_headers()

    def do_GET(self) -> None:
        hub, asked_range = self.server, self.headers.get("Range")
        if hub.cut and asked_range:
            hub.status = 503
        first = int(asked_range.removeprefix("bytes=").split("-")[0]) if asked_range else 0
        body = hub.sent[first:]
        if self._begins(len(body), partial=first > 0):
            if first:
                self.send_header("Content-Range", f"bytes {first}-/{len(hub.sent)}")
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if hub.cut else body)

    def _begins(self, length: int, partial: bool = False) -> bool:
        """Sends the first headers; False when the answer is an error and complete."""
        hub = self.server
        hub.asked.append(f"{self.command} {self.path}")
        known = self.path.endswith("/model.safetensors") and "/resolve/" in self.path
        status = hub.status if hub.status != 200 else 200 if known else 404
        self.send_response(206 if partial and status == 200 else status)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(length if status == 200 else 0))
        if status != 200:
            self.end_headers()
            return False
        self.send_header("ETag", '"not-the-hash"')
        self.send_header("X-Linked-Etag", f'"{hashlib.sha256(hub.file).hexdigest()}"')
        self.send_header("X-Linked-Size", str(len(hub.file)))
        return True

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


@contextmanager
def serving(file: bytes) -> Iterator[Hub]:
    """A hub that has `file`, until the block ends."""
    with Hub(file) as hub:
        thread = Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
