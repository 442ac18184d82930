"""As much of the Hugging Face hub as a download needs, on 127.0.0.1."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

from safetensors.numpy import save

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.networks.registry import network_options
from inceptcli.weights.imagenet_classes import imagenet_classes
from inceptcli.weights.metadata import WeightsMetadata

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def git_hash(content: bytes) -> str:
    """As git names a file of this content, and the hub one that is small."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


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
    """Serves files as those of every repository, well or badly.

    Attributes:
        file: The model.safetensors that the hub has; its size and hash are what it states.
        sent: What goes over the wire instead.
        others: Its other files by name, whose hash is git's.
        commits: The commit of each branch and tag; commits are known by themselves, too.
        cut: Whether connections end after half of a file, and no range of one can be had.
        size: What the hub states of model.safetensors instead of its size, bytes, if any.
        status: What every request is answered with, when not 200.
        asked: Method and path of each request so far.
    """

    def __init__(self, file: bytes | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.file, self.sent = file, file
        self.others: dict[str, bytes] = {}
        self.commits = {"main": COMMIT}
        self.cut, self.status, self.size = False, 200, 0
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
        if self._begins(lambda stated, sent: stated):
            self.end_headers()

    def do_GET(self) -> None:
        hub, asked_range = self.server, self.headers.get("Range")
        if hub.cut and asked_range:
            hub.status = 503
        first = int(asked_range.removeprefix("bytes=").split("-")[0]) if asked_range else 0
        if body := self._begins(lambda stated, sent: sent[first:], partial=first > 0):
            if first:
                self.send_header("Content-Range", f"bytes {first}-/{first + len(body)}")
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if hub.cut else body)

    def _begins(
        self, body_of: Callable[[bytes, bytes], bytes], partial: bool = False
    ) -> bytes | None:
        """Sends the first headers of what is stated or sent; None when that is an error."""
        hub = self.server
        hub.asked.append(f"{self.command} {self.path}")
        _, _, place = self.path.partition("/resolve/")
        revision, _, name = unquote(place).partition("/")
        commit = hub.commits.get(revision, revision)
        stated = hub.file if name == "model.safetensors" else hub.others.get(name)
        sent = hub.sent if name == "model.safetensors" else stated
        status, error = hub.status, ""
        if status == 200 and (commit not in hub.commits.values() or stated is None):
            status = 404
            error = "EntryNotFound" if commit in hub.commits.values() else "RevisionNotFound"
        body = b"" if status != 200 else body_of(stated or b"", sent or b"")
        self.send_response(206 if partial and status == 200 else status)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(body)))
        if status != 200:
            if error:
                self.send_header("X-Error-Code", error)
            self.end_headers()
            return None
        assert stated is not None
        if name == "model.safetensors":
            self.send_header("ETag", '"not-the-hash"')
            self.send_header("X-Linked-Etag", f'"{hashlib.sha256(stated).hexdigest()}"')
            self.send_header("X-Linked-Size", str(hub.size or len(stated)))
        else:
            self.send_header("ETag", f'"{git_hash(stated)}"')
        return body

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


@contextmanager
def serving(file: bytes | None) -> Iterator[Hub]:
    """A hub that has `file`, until the block ends."""
    with Hub(file) as hub:
        thread = Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
