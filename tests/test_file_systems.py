"""File systems of clusters: without locks or syncing, and users without a home folder."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from inceptcli.errors import UsageError
from inceptcli.files.atomic_file import replacing, replacing_folder
from inceptcli.files.file_lock import lock
from inceptcli.files.remote.address import parse
from inceptcli.files.remote.copies import local_copy
from inceptcli.files.remote.https import Https
from inceptcli.files.remote.transport import Reply
from inceptcli.prediction.shares.part import open_part
from inceptcli.training.run_directory import RunDirectory
from tests.cli.conftest import TINY
from tests.prediction.test_part import record

NO_LOCKS = [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL, errno.EIO]
REFUSED = [errno.EINVAL, errno.EPERM, errno.ENOTSUP, errno.ENOSYS]


def answering(number: int) -> Callable[..., None]:
    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", NO_LOCKS)
def test_a_run_trains_where_there_are_no_locks_and_says_so_once(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notices: list[str]
) -> None:
    monkeypatch.setattr(fcntl, "flock", answering(number))
    directory = RunDirectory(tmp_path / "run")
    directory.open()
    directory.close()
    place, reason = f"{tmp_path}/run/lock", os.strerror(number)
    notice = f"{place}: cannot be locked ({reason}); make sure that no other process writes there"
    assert notices == [notice]
    assert notice in (tmp_path / "run/train.log").read_text()


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES])
def test_only_a_lock_that_is_held_is_another_process(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", answering(number))
    with pytest.raises(UsageError, match="another process is training in this folder"):
        RunDirectory(tmp_path / "run").open()
    with (
        pytest.raises(UsageError, match="another process is writing it"),
        open_part(tmp_path / "part", record()),
    ):
        pass


def test_a_part_is_written_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notices: list[str]
) -> None:
    monkeypatch.setattr(fcntl, "flock", answering(errno.ENOLCK))
    with open_part(tmp_path / "part", record()):
        pass
    assert notices == [
        f"{tmp_path}/part/.lock: cannot be locked (No locks available); make sure that no other "
        "process writes there"
    ]


def test_a_lock_that_is_held_is_seen_by_a_second_process(
    tmp_path: Path, notices: list[str]
) -> None:
    held, second = RunDirectory(tmp_path / "run"), RunDirectory(tmp_path / "run")
    held.open()
    with pytest.raises(UsageError, match=f"process {os.getpid()} on .* is training"):
        second.open()
    held.close()
    second.open()
    second.close()
    assert notices == []


def test_a_download_without_locks_leaves_what_others_fetch_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr(fcntl, "flock", answering(errno.ENOSYS))

    @contextmanager
    def opened(*asked: object) -> Iterator[Reply]:
        yield Reply(iter([b"bytes"]), 0, 5, None, False)

    monkeypatch.setattr(Https, "open", opened)
    address = parse("https://example.com/a.jpg")
    kept = local_copy(address, 100)
    others = kept.with_name(".a.jpg.part")
    others.write_bytes(b"half")
    assert local_copy(address, 100).read_bytes() == b"bytes"
    assert others.read_bytes() == b"half"
    assert sorted(path.name for path in kept.parent.iterdir()) == [".a.jpg.part", ".lock", "a.jpg"]


@pytest.mark.parametrize("number", REFUSED)
def test_a_file_is_replaced_where_nothing_can_be_synced_or_given_a_mode(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", answering(number))
    monkeypatch.setattr(Path, "chmod", answering(number))
    with replacing(tmp_path / "file") as temporary:
        temporary.unlink()
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))  # as safetensors does
        temporary.write_text("new")
    assert (tmp_path / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["n" * 255, "n" + "ä" * 127])
def test_the_longest_names_are_written(tmp_path: Path, name: str) -> None:
    with replacing(tmp_path / name) as temporary:
        temporary.write_text("whole")
    with replacing_folder(tmp_path / name[1:]) as temporary:
        (temporary / "file").touch()
    assert {path.name for path in tmp_path.iterdir()} == {name, name[1:]}
    assert (tmp_path / name).read_text() == "whole"
    assert (tmp_path / name[1:] / "file").is_file()


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_bytes_that_cannot_be_written_are_an_error(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "fsync", answering(number))
    with pytest.raises(OSError, match=os.strerror(number)), replacing(tmp_path / "file") as new:
        new.write_text("new")
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_forked_process_does_not_keep_the_lock(tmp_path: Path) -> None:
    path, (reading, writing) = tmp_path / "lock", os.pipe()
    with path.open("a") as file:
        assert lock(file)
        child = os.fork()
        if child == 0:
            os.write(writing, b"forked")
            time.sleep(1000)
        assert os.read(reading, 6) == b"forked"
        with path.open("a") as other, pytest.raises(BlockingIOError):
            lock(other)
    with path.open("a") as file:
        assert lock(file)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)


def test_a_lock_that_is_waited_for_is_had(tmp_path: Path, notices: list[str]) -> None:
    with (tmp_path / "lock").open("a") as file:
        assert lock(file, wait=True)
    assert notices == []


def without_home(folder: Path, *arguments: str, home: str | None = None) -> tuple[int, str]:
    """Exit code and standard error of a command of user 12345, whom /etc/passwd does not know."""
    if shutil.which("setpriv") is None or os.getuid() != 0:
        pytest.skip("needs setpriv and root, to become a user without a passwd entry")
    folder.chmod(0o777)
    for parent in folder.parents:  # pytest's own are its user's alone
        if parent.stat().st_uid == 0 and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    keep = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    environment = keep | ({"HOME": home} if home else {}) | {"OMP_NUM_THREADS": "1"}
    may_read = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    user = ("setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", *may_read)
    done = subprocess.run(
        [*user, sys.executable, "-m", "inceptcli", *arguments],
        env=environment, cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


HOMES = pytest.mark.parametrize("home", [None, "/", "/nowhere"])
FETCHING = [
    ("predict", "picture.png"),
    ("train", "--arch", "irv2-tf", "--init", "imagenet"),
    ("train", "--data", "https://localhost:1/train-{000..001}.tar"),
]


@HOMES
@pytest.mark.parametrize("arguments", FETCHING, ids=lambda value: value[0])
def test_what_has_to_be_kept_needs_a_folder_and_says_so(
    home: str | None, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    code, said = without_home(tmp_path, *arguments, home=home)
    (line,) = (line for line in said.splitlines() if line.startswith("Error: "))
    assert "set HF_HOME to a" in line
    assert code == (2 if home is None else 1)
    assert list(tmp_path.iterdir()) == []  # no folder named ~


@HOMES
def test_completion_needs_a_home_folder_and_says_so(home: str | None, tmp_path: Path) -> None:
    code, said = without_home(tmp_path, "--install-completion", "bash", home=home)
    assert code == 2
    assert "is not writable; set HOME to a writable folder" in " ".join(said.split())


@pytest.mark.system
@pytest.mark.parametrize("home", [None, "/"])
def test_a_user_without_a_home_folder_trains_measures_and_predicts(
    home: str | None, tmp_path: Path
) -> None:
    for arguments in (
        ("--help",),
        ("list", "networks"),
        ("summarize", "irv1", "--figure", "network.png"),
        ("train", *TINY, "--output", "run"),
        ("eval", "run"),
    ):
        code, said = without_home(tmp_path, *arguments, home=home)
        assert code == 0, said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network.png", "run"]
    assert (tmp_path / "run/curves.png").exists()
