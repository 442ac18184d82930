"""Copies of files at https addresses: whole, the server's own, and found again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inceptcli.errors import UserError
from inceptcli.files.remote import https
from inceptcli.files.remote.address import parse
from inceptcli.files.remote.copies import fetch_into, local_copy
from inceptcli.files.remote.transport import FetchError
from tests.files.remote.loopback_https import Server

MOST = 10**8
CONTENT = bytes(range(256)) * 64


@pytest.fixture
def cat(server: Server) -> str:
    """The address of a file."""
    (server.folder / "cat.jpg").write_bytes(CONTENT)
    return f"{server.url}/cat.jpg"


def fetched(address: str, most: int = MOST) -> bytes:
    return local_copy(parse(address), most).read_bytes()


def test_a_file_is_fetched_once_and_again_when_it_has_changed(server: Server, cat: str) -> None:
    for content in (CONTENT, CONTENT, b"new"):
        (server.folder / "cat.jpg").write_bytes(content)
        assert fetched(cat) == content
    assert len(server.asked) == 3
    server.validator = ""
    assert fetched(cat) == fetched(cat) == b"new"


def test_a_copy_of_another_size_is_not_taken(server: Server, cat: str) -> None:
    with local_copy(parse(cat), MOST).open("ab") as copy:
        copy.write(b"more")
    assert fetched(cat) == CONTENT


def test_a_long_name_of_another_script_has_a_copy(server: Server) -> None:
    name = "写" * 80 + ".jpg"  # 244 bytes, which a file system still takes
    (server.folder / name).write_bytes(CONTENT)
    assert fetched(f"{server.url}/{name}") == CONTENT


def test_a_copy_is_found_again_without_the_network(
    server: Server, cat: str, caplog: pytest.LogCaptureFixture
) -> None:
    fetched(cat)
    server.status = 503
    assert fetched(cat) == CONTENT
    server.shutdown()
    server.socket.close()
    assert fetched(cat) == CONTENT
    assert [line.rpartition(";")[2] for line in caplog.messages] == [" using an earlier copy"] * 2
    server.status = 404
    with pytest.raises(FetchError):
        fetched(cat.replace("cat", "dog"))


@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_file_that_is_gone_has_no_copy(server: Server, cat: str, status: int) -> None:
    fetched(cat)
    server.status = status
    with pytest.raises(FetchError, match=f"^HTTP {status}$") as caught:
        fetched(cat)
    assert caught.value.is_absent
    assert len(server.asked) == 2


def test_a_server_that_fails_is_asked_three_times(server: Server, cat: str) -> None:
    server.status = 500
    with pytest.raises(FetchError, match=r"^HTTP 500$"):
        fetched(cat)
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("validator", "ranges", "goes_on"),
    [("strong", True, True), ("strong", False, False), ("weak", True, False), ("", True, False)],
)
def test_a_download_that_broke_goes_on_where_parts_fit_together(
    server: Server, cat: str, validator: str, ranges: bool, goes_on: bool
) -> None:
    server.validator, server.ranges, server.cut = validator, ranges, 3
    with pytest.raises(FetchError, match="the connection ended after"):
        fetched(cat)
    assert fetched(cat) == CONTENT
    asked = server.asked[-1][1]
    had = {True: len(CONTENT) * 7 // 8, False: len(CONTENT) // 2}[ranges]
    assert asked == (f"bytes={had}-" if validator == "strong" else None)
    assert goes_on is (asked is not None and ranges)


@pytest.mark.parametrize("content", [b"another", CONTENT[::-1], b""])
@pytest.mark.parametrize("conditions", [True, False])
def test_a_file_that_changed_meanwhile_starts_anew(
    server: Server, cat: str, content: bytes, conditions: bool
) -> None:
    server.cut, server.conditions = 3, conditions
    with pytest.raises(FetchError):
        fetched(cat)
    (server.folder / "cat.jpg").write_bytes(content)
    asked = len(server.asked)
    assert fetched(cat) == content
    assert len(server.asked) - asked == (1 if conditions else 2)


def test_a_download_that_was_killed_goes_on(server: Server, cat: str, tmp_path: Path) -> None:
    """By the next process; the first one dies in the middle, with the connection."""
    server.cut = 1
    program = (
        "import os, sys, time\n"
        "time.sleep = lambda seconds: os.kill(os.getpid(), 9)\n"
        "from inceptcli.files.remote.address import parse\n"
        "from inceptcli.files.remote.copies import local_copy\n"
        f"local_copy(parse(sys.argv[1]), {MOST})\n"
    )
    done = subprocess.run([sys.executable, "-c", program, cat], check=False)
    assert done.returncode == -9
    assert fetched(cat) == CONTENT
    assert server.asked[-1][1] == f"bytes={len(CONTENT) // 2}-"
    assert not [*tmp_path.rglob("*.part")]


def test_processes_that_start_together_fetch_once(server: Server, cat: str) -> None:
    with ThreadPoolExecutor(4) as pool:  # the lock is that of an opened file, as for processes
        assert [*pool.map(lambda _: fetched(cat), range(4))] == [CONTENT] * 4
    starts = [part for _, part in server.asked if part is None]
    assert len(starts) == 4  # of which three were told that nothing has changed
    assert not [*server.folder.parent.rglob("*.part")]


def test_a_server_that_lies_about_the_size_is_not_believed(server: Server, cat: str) -> None:
    server.claims = 7
    with pytest.raises(FetchError, match=rf"ended after {len(CONTENT)} of {len(CONTENT) + 7}"):
        fetched(cat)
    server.claims = -7
    with pytest.raises(UserError, match="over the limit of 100"):
        fetched(cat, 100)


def test_a_file_without_a_stated_size_has_a_limit(server: Server, cat: str, tmp_path: Path) -> None:
    server.claims = None
    with pytest.raises(FetchError, match="more than 100 bytes"):
        fetched(cat, 100)
    assert not [*tmp_path.rglob("*.part")]
    assert fetched(cat) == CONTENT


@pytest.mark.parametrize("leads_to", ["http://127.0.0.1:1", "file:///etc", "s3://bucket"])
def test_a_redirect_leads_to_https_alone(server: Server, cat: str, leads_to: str) -> None:
    server.leads_to = leads_to
    with pytest.raises(FetchError, match="redirects to an address without https"):
        fetched(cat)
    assert len(server.asked) == 1


def test_a_server_that_does_not_answer_is_given_up(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(https, "TIMEOUT", 0.05)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(FetchError, match="timed out"),
    ):
        fetched(f"https://127.0.0.1:{silent.getsockname()[1]}/cat.jpg")


def test_another_content_than_the_stated_hash_is_not_kept(
    server: Server, cat: str, tmp_path: Path
) -> None:
    with pytest.raises(FetchError, match="sha256 differs"):
        fetch_into(parse(cat), tmp_path / "cat.jpg", sha256="0" * 64)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


def test_a_cache_that_cannot_be_written_is_named(
    server: Server, cat: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file"))
    with pytest.raises(
        UserError, match="cannot be written: Not a directory; set HF_HOME"
    ) as caught:
        fetched(cat)
    assert not isinstance(caught.value, FetchError)


def test_no_command_is_run(server: Server, cat: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **settings: object) -> None:
        pytest.fail(f"{arguments} was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(os, "system", refuse)
    assert fetched(cat) == CONTENT
