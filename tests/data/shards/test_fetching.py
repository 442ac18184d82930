"""Shards at remote addresses: fetched once, whole, checked, and by nothing but this process."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from inceptcli.data.open_data import open_for_evaluation, open_for_training
from inceptcli.data.shards import fetching
from inceptcli.errors import UsageError, UserError
from tests.data.class_folders import CLASSES, draw, pack, samples, shard
from tests.files.remote.loopback_https import OPENSSL, Server, make_certificate, serving

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="openssl, which makes a certificate, is not there")  # fmt: skip  # noqa: E501


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 with its key."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def server(tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Three shards of train and one of val, of the folder data/; trusted, without any pause."""
    for split, count in (("train", 11), ("val", 4)):
        draw(tmp_path / "data" / split, count)
    served = tmp_path / "served"
    shard(tmp_path / "data", served / "set", 4)
    monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with serving(served, certificate) as server:
        yield server


def left(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.suffix in (".tar", ".partial", ".part")]


def test_shards_are_fetched_once_and_are_the_folder(
    server: Server, tmp_path: Path, notices: list[str]
) -> None:
    data = f"{server.url}/set/{{train-{{000000..000002}},val-000000}}.tar"
    train, val, classes = open_for_training(data, None, None)
    plain = open_for_training(str(tmp_path / "data"), None, None)
    assert classes == plain[2]
    for ours, theirs in ((train, plain[0]), (val, plain[1])):
        assert [ours.label(index) for index in range(len(ours))] == [
            theirs.label(index) for index in range(len(theirs))
        ]
        assert (ours.image(2) == theirs.image(2)).all()
    assert len(notices) == 4
    assert notices[0].startswith(
        f"fetching {server.url}/set/train-000000.tar into {tmp_path}/cache/"
    )
    asked = len(server.asked)
    (lock,) = tmp_path.rglob(".lock")
    lock.unlink()
    open_for_training(data, None, None)
    assert len(server.asked) == asked
    assert not lock.exists()  # or a cache that is read only would be of no use
    assert len(notices) == 4


def test_processes_that_start_together_fetch_once(server: Server) -> None:
    data = f"{server.url}/set/train-{{000000..000002}}.tar"
    with ThreadPoolExecutor(4) as ranks:  # the lock is that of an opened file, as for processes
        sources = list(ranks.map(lambda rank: open_for_evaluation(data, CLASSES), range(4)))
    assert [len(source) for source in sources] == [11] * 4
    assert len(server.shards()) == 3


def test_shards_of_others_come_with_their_list_of_classes(server: Server) -> None:
    pack(server.folder / "theirs/0.tar", samples(4))
    source = open_for_evaluation(f"{server.url}/theirs/0.tar", CLASSES)
    assert len(source) == 4
    (server.folder / "bare").mkdir()
    shutil.copy(server.folder / "theirs/0.tar", server.folder / "bare")
    with pytest.raises(UserError, match=r"no classes\.txt beside the shards"):
        open_for_evaluation(f"{server.url}/bare/0.tar", CLASSES)
    shutil.copy(server.folder / "theirs/classes.txt", server.folder / "bare")
    assert len(open_for_evaluation(f"{server.url}/bare/0.tar", CLASSES)) == 4


def test_a_list_of_classes_written_beside_fetched_shards_stays(server: Server) -> None:
    for name in ("0", "1"):
        pack(server.folder / f"bare/{name}.tar", samples(4))
    list_of_classes = server.folder / "bare/classes.txt"
    text = list_of_classes.read_text()
    list_of_classes.unlink()
    with pytest.raises(UserError, match=r"no classes\.txt beside the shards") as raised:
        open_for_evaluation(f"{server.url}/bare/0.tar", CLASSES)
    (Path(str(raised.value).partition(": no classes")[0]) / "classes.txt").write_text(text)
    assert len(open_for_evaluation(f"{server.url}/bare/{{0..1}}.tar", CLASSES)) == 8


def test_a_list_of_classes_that_was_changed_labels_no_shard(server: Server, tmp_path: Path) -> None:
    assert len(open_for_evaluation(f"{server.url}/set/val-000000.tar", CLASSES)) == 4
    (server.folder / "set/classes.json").write_text('["ant", "aphid", "bee", "cat"]')
    with pytest.raises(UserError, match=r"classes\.json: was changed since .*; delete ") as raised:
        open_for_evaluation(f"{server.url}/set/train-000000.tar", CLASSES)
    shutil.rmtree(str(raised.value).partition("delete ")[2].partition(" to fetch")[0])
    with pytest.raises(UserError, match="its class aphid is not one"):
        open_for_evaluation(f"{server.url}/set/train-000000.tar", CLASSES)
    assert left(tmp_path / "cache") == [*(tmp_path / "cache").rglob("train-000000.tar")]


def test_ranges_that_overlap_name_a_shard_once(server: Server) -> None:
    data = f"{server.url}/set/train-{{{{000000..000001}},{{000001..000002}}}}.tar"
    assert len(open_for_evaluation(data, CLASSES)) == 11


@pytest.mark.parametrize("ranges", [True, False])
def test_a_connection_that_breaks_is_made_anew(server: Server, ranges: bool) -> None:
    server.cut, server.ranges = 2, ranges
    source = open_for_evaluation(f"{server.url}/set/val-000000.tar", CLASSES)
    assert len(source) == 4
    parts = [part for path, part in server.asked if path.endswith(".tar")]
    assert parts[0] is None
    assert len(parts) == 3
    assert all(part and part.startswith("bytes=") for part in parts[1:])


def test_what_cannot_be_had_whole_is_not_kept(server: Server, tmp_path: Path) -> None:
    server.cut = 3
    with pytest.raises(
        UserError, match=r"val-000000\.tar: cannot be fetched \(the connection ended"
    ):
        open_for_evaluation(f"{server.url}/set/val-000000.tar", CLASSES)
    (part,) = left(tmp_path / "cache")
    assert part.suffix == ".part"
    with pytest.raises(UserError, match=r"missing\.tar: cannot be fetched \(HTTP 404\)"):
        open_for_evaluation(f"{server.url}/set/missing.tar", CLASSES)
    assert len(server.shards()) == 4
    had = part.stat().st_size
    assert len(open_for_evaluation(f"{server.url}/set/val-000000.tar", CLASSES)) == 4
    assert server.asked[-1] == ("/set/val-000000.tar", f"bytes={had}-")
    assert not part.exists()


def test_a_shard_that_is_not_what_its_index_says_is_not_kept(
    server: Server, tmp_path: Path
) -> None:
    path = server.folder / "set/val-000000.tar"
    content = bytearray(path.read_bytes())
    content[700] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"sha256.* its index"):
        open_for_evaluation(f"{server.url}/set/val-000000.tar", CLASSES)
    assert left(tmp_path / "cache") == []


def test_no_certificate_no_shard(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(UserError, match="CERTIFICATE_VERIFY_FAILED"):
        open_for_evaluation(f"{server.url}/set/val-000000.tar", CLASSES)


@pytest.mark.parametrize("leads_to", ["http://127.0.0.1:1", "file:///etc", "ftp://127.0.0.1:1"])
def test_an_address_that_leads_away_from_https_is_not_followed(
    server: Server, leads_to: str
) -> None:
    server.leads_to = leads_to
    with pytest.raises(UserError, match="cannot be fetched"):
        open_for_evaluation(f"{server.url}/set/val-000000.tar", CLASSES)


def test_a_list_of_classes_without_end_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "MAXIMUM_SIDE_FILE", 10)
    with pytest.raises(UserError, match=r"classes\.json: .*bytes, over the limit of 10"):
        open_for_evaluation(f"{server.url}/set/val-000000.tar", CLASSES)


@pytest.mark.parametrize(
    "address",
    ["https://host/a-*.tar", "https://host/a.tar?key=1", "https://host/a.zip", "https://host/.tar",
     "https:///a.tar", "https://host/a/", "https://host/a[1].tar"],
)  # fmt: skip
def test_an_address_is_that_of_one_tar_file(address: str) -> None:
    with pytest.raises(UsageError, match=r"an address must name a \.tar file|must be like"):
        open_for_evaluation(address, CLASSES)


def test_no_command_is_run(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **settings: Any) -> None:
        pytest.fail(f"{arguments} was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr("os.system", refuse)
    assert len(open_for_evaluation(f"{server.url}/set/val-000000.tar", CLASSES)) == 4


def test_a_cache_that_cannot_be_written_is_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be written: Not a directory; set HF_HOME"):
        open_for_evaluation(f"{server.url}/set/val-000000.tar", CLASSES)


def test_an_index_of_a_shard_that_was_changed_is_fetched_again(server: Server) -> None:
    data = f"{server.url}/set/train-000000.tar"
    (kept,) = fetching.fetch_shards([data])
    kept.unlink()
    kept.with_name(f"{kept.name}.json").write_text('{"sha256": "of an older one"}')
    assert fetching.fetch_shards([data]) == [kept]
    assert kept.is_file()


def test_a_shard_in_the_cache_of_the_hub_stays_beside_its_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*_: object) -> None:
        raise AssertionError("the hub was asked, whose newer commit may lack the index")

    snapshot = tmp_path / "hub/datasets--me--set/snapshots" / ("0" * 40)
    kept = pack(snapshot / "train-0.tar", samples(3))
    refs = tmp_path / "hub/datasets--me--set/refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(fetching, "hub_copy", ask)
    assert fetching.fetch_shards(["hf://datasets/me/set/train-0.tar"]) == [kept]
