"""Files in object stores, at servers on 127.0.0.1: moto's for s3, one of our own for gs."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import pytest

from inceptcli.files.remote.address import parse
from inceptcli.files.remote.copies import local_copy
from inceptcli.files.remote.object_store import files_at
from inceptcli.files.remote.transport import FetchError

MOST = 10**8
CONTENT = bytes(range(256)) * 64


def put(client: Any, key: str, content: bytes = CONTENT) -> None:
    client.put_object(Bucket="bucket", Key=key, Body=content)


def texts(address: str) -> list[str]:
    return [found.text for found in files_at(parse(address))]


def test_a_file_in_s3_is_fetched_once_and_again_when_it_has_changed(bucket: Any) -> None:
    address = parse("s3://bucket/photos/cat é.jpg")
    for content in (CONTENT, CONTENT, b"new"):
        put(bucket, "photos/cat é.jpg", content)
        copy = local_copy(address, MOST)
        assert copy.read_bytes() == content
    written = copy.stat().st_mtime_ns
    assert local_copy(address, MOST).stat().st_mtime_ns == written
    put(bucket, "big.jpg", b"big")
    with pytest.raises(FetchError, match="3 bytes, over the limit of 2"):
        local_copy(parse("s3://bucket/big.jpg"), 2)


def test_a_broken_download_from_s3_goes_on_or_starts_anew(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs.core import S3File

    monkeypatch.setattr("inceptcli.files.remote.object_store.CHUNK", 4096)
    fetch, asked = S3File._fetch_range, list[int]()

    def breaking(self: Any, start: int, end: int) -> Any:
        asked.append(start)
        if start == 8192 and asked.count(8192) == 1:
            raise ConnectionResetError("reset by peer")
        return fetch(self, start, end)

    monkeypatch.setattr(S3File, "_fetch_range", breaking)
    address = parse("s3://bucket/cat.jpg")
    for later in (CONTENT, CONTENT[::-1]):
        asked.clear()
        put(bucket, "cat.jpg", b"x" + CONTENT[1:] if later != CONTENT else CONTENT)
        with pytest.raises(FetchError, match="reset by peer"):
            local_copy(address, MOST)
        put(bucket, "cat.jpg", later)
        assert local_copy(address, MOST).read_bytes() == later
        assert asked[:4] == [0, 4096, 8192, 8192 if later == CONTENT else 0]


def test_a_folder_and_a_pattern_in_s3_are_listed(bucket: Any) -> None:
    for key in ("photos/b.jpg", "photos/a.jpg", "photos/more/c.png", "photos/d.txt", "e.jpg"):
        put(bucket, key, b"x")
    assert texts("s3://bucket/photos/*.jpg") == [f"s3://bucket/photos/{n}.jpg" for n in "ab"]
    assert len(texts("s3://bucket/photos")) == len(texts("s3://bucket/photos/")) == 4
    assert texts("s3://bucket/**/?.png") == ["s3://bucket/photos/more/c.png"]
    assert texts("s3://bucket/none/*.jpg") == []
    assert texts("s3://bucket/cat.jpg") == ["s3://bucket/cat.jpg"]
    put(bucket, "photos/[1].jpg", b"x")
    assert texts("s3://bucket/photos/[1].jpg") == ["s3://bucket/photos/[1].jpg"]
    for missing in ("s3://bucket/none", "s3://nowhere/photos/"):
        with pytest.raises(FetchError, match="no such file"):
            texts(missing)


def test_a_missing_file_and_a_server_that_is_gone_are_named(
    bucket: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(FetchError, match=r"^no such file$"):
        local_copy(parse("s3://bucket/none.jpg"), MOST)
    put(bucket, "cat.jpg")
    local_copy(parse("s3://bucket/cat.jpg"), MOST)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    import fsspec

    fsspec.filesystem("s3").clear_instance_cache()
    assert local_copy(parse("s3://bucket/cat.jpg"), MOST).read_bytes() == CONTENT
    assert "using an earlier copy" in caplog.text
    with pytest.raises(FetchError, match="Could not connect"):
        local_copy(parse("s3://bucket/none.jpg"), MOST)
    assert "hunter2" not in caplog.text
    fsspec.filesystem("s3").clear_instance_cache()


def test_a_public_bucket_needs_no_credentials(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.put_object(Bucket="bucket", Key="cat.jpg", Body=CONTENT, ACL="public-read")
    import fsspec

    fsspec.filesystem("s3").clear_instance_cache()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    assert local_copy(parse("s3://bucket/cat.jpg"), MOST).read_bytes() == CONTENT
    fsspec.filesystem("s3").clear_instance_cache()


@pytest.mark.system
def test_ten_thousand_names_are_listed(bucket: Any) -> None:
    from moto.s3.models import s3_backends

    backend = s3_backends["123456789012"]["aws"]
    for number in range(10_000):
        backend.put_object("bucket", f"many/{number:05}.jpg", b"x")
    found = texts("s3://bucket/many/*.jpg")
    assert found == [f"s3://bucket/many/{number:05}.jpg" for number in range(10_000)]
    backend.buckets["bucket"].keys.clear()


class Store(ThreadingHTTPServer):
    """As much of Google Cloud Storage as reading and listing need."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), StoreHandler)
        self.objects = objects


class StoreHandler(BaseHTTPRequestHandler):
    server: Store

    def do_GET(self) -> None:
        place = urlparse(self.path)
        key = unquote(place.path.partition("/o/")[2])
        if place.path.endswith("/o"):
            prefix = parse_qs(place.query).get("prefix", [""])[0]
            items = [self._about(n) for n in self.server.objects if n.startswith(prefix)]
            self._answer(200, json.dumps({"items": items}).encode())
        elif key not in self.server.objects:
            self._answer(404, b"{}")
        elif place.path.startswith("/download") or "alt=media" in place.query:
            first, last = self.headers["Range"].removeprefix("bytes=").split("-")
            self._answer(206, self.server.objects[key][int(first) : int(last) + 1])
        else:
            self._answer(200, json.dumps(self._about(key)).encode())

    def _about(self, name: str) -> dict[str, str]:
        content = self.server.objects[name]
        return {
            "kind": "storage#object", "bucket": "bucket", "name": name, "id": f"bucket/{name}/1",
            "size": str(len(content)), "generation": str(hash(content)), "etag": "x",
        }  # fmt: skip

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


def test_files_in_gs_are_listed_and_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gcsfs")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    with Store({"photos/cat.jpg": CONTENT, "photos/dog.txt": b"x"}) as store:
        thread = threading.Thread(target=store.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{store.server_port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        try:
            assert texts("gs://bucket/photos/*.jpg") == ["gs://bucket/photos/cat.jpg"]
            address = parse("gs://bucket/photos/cat.jpg")
            assert local_copy(address, MOST).read_bytes() == CONTENT
            store.objects["photos/cat.jpg"] = b"new"
            assert local_copy(address, MOST).read_bytes() == b"new"
            with pytest.raises(FetchError, match="no such file"):
                local_copy(parse("gs://bucket/photos/none.jpg"), MOST)
        finally:
            store.shutdown()
            thread.join()
