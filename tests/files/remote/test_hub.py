"""Files of the Hugging Face hub at hf addresses, from a hub on 127.0.0.1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from inceptcli.files.remote.address import parse
from inceptcli.files.remote.hub import HubFile, hub_file
from tests.weights.loopback_hub import COMMIT, serving

PROGRAM = """
import sys
from inceptcli.files.remote.address import parse
from inceptcli.files.remote.copies import local_copy
from inceptcli.files.remote.transport import FetchError
for address in sys.argv[2:]:
    try:
        print(local_copy(parse(address), int(sys.argv[1])).read_bytes().decode())
    except FetchError as error:
        print(error, error.is_absent)
"""


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("hf://owner/name/a/cat.jpg", HubFile("owner/name", "a/cat.jpg", None, None)),
        ("hf://datasets/o/n@v1/cat.jpg", HubFile("o/n", "cat.jpg", "dataset", "v1")),
        ("hf://spaces/o/n@a%2Fb/cat.jpg", HubFile("o/n", "cat.jpg", "space", "a/b")),
        ("hf://o/n@refs/pr/1/cat.jpg", HubFile("o/n", "cat.jpg", None, "refs/pr/1")),
    ],
)
def test_an_address_names_a_file_of_a_repository(address: str, file: HubFile) -> None:
    assert hub_file(parse(address)) == file


LISTING = """
import sys
from inceptcli.files.remote.address import parse
from inceptcli.files.remote.object_store import files_at
for address in sys.argv[1:]:
    print(*(found.text for found in files_at(parse(address))))
"""


class ListingHandler(BaseHTTPRequestHandler):
    """The hub's tree of a data set of three files."""

    def do_GET(self) -> None:
        place = self.path.partition("?")[0]
        files = [
            {"type": "file", "path": f"a/{name}", "size": 1, "oid": "0" * 40}
            for name in ("cat.jpg", "dog.jpg", "notes.txt")
        ]
        answers: dict[str, Any] = {
            "/api/datasets/owner/name": {"id": "owner/name", "sha": COMMIT},
            "/api/datasets/owner/name/revision/main": {"id": "owner/name", "sha": COMMIT},
            "/api/datasets/owner/name/tree/main": [{"type": "directory", "path": "a", "oid": "0"}],
            "/api/datasets/owner/name/tree/main/a": files,
        }
        body = json.dumps(answers.get(place)).encode()
        self.send_response(200 if place in answers else 404)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


def test_a_folder_and_a_pattern_of_the_hub_are_listed(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), ListingHandler) as hub:
        Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01}).start()
        url = f"http://127.0.0.1:{hub.server_port}"
        environment = os.environ | {"HF_HOME": str(tmp_path), "HF_ENDPOINT": url}
        root = "hf://datasets/owner/name"
        try:
            done = subprocess.run(
                [sys.executable, "-c", LISTING, f"{root}/a/*.jpg", f"{root}/a", f"{root}/"],
                env=environment | {"NO_PROXY": "127.0.0.1"}, capture_output=True, text=True,
                check=False,
            )  # fmt: skip
        finally:
            hub.shutdown()
    assert done.returncode == 0, done.stderr
    pictures = f"{root}/a/cat.jpg {root}/a/dog.jpg"
    assert done.stdout.splitlines() == [
        pictures, f"{pictures} {root}/a/notes.txt", f"{pictures} {root}/a/notes.txt"
    ]  # fmt: skip


def test_a_file_of_the_hub_is_fetched_and_found_again(tmp_path: Path) -> None:
    """In processes of their own, since the client reads the environment when it is imported."""
    address = f"hf://datasets/owner/name@{COMMIT}/cat.txt"
    with serving(None) as hub:
        hub.others = {"cat.txt": b"a cat"}

        def run(most: int, *addresses: str, **changes: str) -> list[str]:
            return subprocess.run(
                [sys.executable, "-c", PROGRAM, str(most), *addresses],
                env=hub.environment(tmp_path, **changes), capture_output=True, text=True,
                check=True,
            ).stdout.splitlines()  # fmt: skip

        missing = f"hf://datasets/owner/name@{COMMIT}/dog.txt"
        assert run(100, address, missing) == ["a cat", "HTTP 404 True"]
        assert run(4, address) == ["5 bytes, over the limit of 4 False"]
        asked = len(hub.asked)
        assert run(100, address, HF_HUB_OFFLINE="1") == ["a cat"]
        assert len(hub.asked) == asked
