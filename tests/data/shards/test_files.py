"""Which tar files a text means, and which texts mean none."""

from __future__ import annotations

import builtins
import json
import os
from pathlib import Path
from typing import Any

import pytest

from inceptcli.data.folders import class_folder
from inceptcli.data.open_data import open_for_training
from inceptcli.data.shards.files import class_list, find_shards, means_shards, of_split
from inceptcli.errors import UsageError, UserError


@pytest.fixture
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("train-000.tar", "train-001.tar", "train-002.tar", "val-000.tar"):
        (tmp_path / "set" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "set" / name).touch()
    (tmp_path / "set/train-000.tar.json").touch()
    (tmp_path / "set/.train-003.tar.1234.partial").touch()
    return tmp_path / "set"


def found(data: str) -> list[str]:
    assert means_shards(data)
    return [path.as_posix() for path in find_shards(data)]


def test_ranges_patterns_files_and_folders_are_shards(shards: Path) -> None:
    train = [f"set/train-00{number}.tar" for number in range(3)]
    assert found("set/train-{000..002}.tar") == train
    assert found("set/train-{002..000..2}.tar") == [train[2], train[0]]
    assert found("set/train-*.tar") == train
    assert found("set/{train,val}-*.tar") == [*train, "set/val-000.tar"]
    assert found("set/{train-*,train-000,val-000}.tar") == [*train, "set/val-000.tar"]
    assert found("set/train-00[01].tar") == train[:2]
    assert found("set/train-001.tar") == [train[1]]
    assert found("set") == [*train, "set/val-000.tar"]


def test_shards_of_train_and_val_lie_in_folders_too(shards: Path) -> None:
    for name in ("train", "val"):
        (shards.parent / "two" / name).mkdir(parents=True)
        (shards.parent / "two" / name / "0.tar").touch()
    assert found("two") == ["two/train/0.tar", "two/val/0.tar"]
    assert of_split(find_shards("two"), "val") == [Path("two/val/0.tar")]


def test_an_archive_beside_class_folders_is_not_the_data(shards: Path) -> None:
    (shards / "cat").mkdir()
    assert not means_shards("set")
    said = r"its tar files are not taken as shards beside other folders: .*'set/\*\.tar'"
    with pytest.raises(UserError, match=f"set: no class folders; .*{said}"):
        class_folder(Path("set"))
    with pytest.raises(UsageError, match=f"--data set: no validation images; .*{said}"):
        open_for_training("set", None, None)
    (shards / "cat/1.png").touch()
    with pytest.raises(UserError, match=f"set: at least two class folders .*{said}"):
        class_folder(Path("set"))
    (shards.parent / "flowers/train/cat").mkdir(parents=True)
    (shards.parent / "flowers/val/cat").mkdir(parents=True)
    (shards.parent / "flowers/train/all.tar").touch()
    assert not means_shards("flowers")
    assert not means_shards("missing")


def test_a_folder_that_cannot_be_read_is_left_to_who_looks_for_classes(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    assert not means_shards("set")


def test_a_name_with_braces_or_brackets_that_exists_is_taken_as_it_is(shards: Path) -> None:
    for name in ("a{1,2}.tar", "b[1].tar"):
        (shards / name).touch()
        assert found(f"set/{name}") == [f"set/{name}"]


def test_the_split_is_a_word_of_the_name() -> None:
    names = "x/validation_0 imagenet1k-train-00 a/b constrained-0 val/0 valuable/1"
    more = "Valid-3 testing/4 latest-5"
    paths = [Path(f"{name}.tar") for name in (*names.split(), *more.split())]
    assert of_split(paths, "val") == [paths[0], paths[4], paths[6]]
    assert of_split(paths, "train") == [paths[1]]
    assert of_split(paths, "test") == [paths[7]]
    assert of_split(paths, None) == [paths[2], paths[3], paths[5], paths[8]]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("set/train-{000..009}.tar", "set/train-003.tar: no such file"),
        ("set/test-*.tar", r"set/test-\*.tar: no such file"),
        ("set/missing.tar", "set/missing.tar: no such file"),
        ("set/{train-000.tar", "unbalanced braces"),
        ("set/{1..99999999}.tar", "more than 100000 shards"),
        ("set/{1..999}{1..999}.tar", "more than 100000 shards"),
        ("set/packed.tar.gz", "a shard is an uncompressed .tar file"),
    ],
)
def test_what_is_no_shard_is_named(data: str, said: str, shards: Path) -> None:
    (shards / "packed.tar.gz").touch()
    assert means_shards(data)
    with pytest.raises(UsageError, match=said):
        find_shards(data)


@pytest.mark.parametrize(
    "data",
    [
        "pipe:touch ran.tar", "PIPE:touch ran", "pipe:touch ran; cat set/train-{000..002}.tar",
        "http://host/train-{000..002}.tar", "zip://a.tar::s3://bucket/b.zip",
        "simplecache::https://host/a.tar", "ais://bucket/a.tar", "file:///etc/a.tar",
    ],
)  # fmt: skip
def test_no_command_is_run_and_no_other_scheme_is_read(
    data: str, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **settings: Any) -> None:
        pytest.fail(f"{arguments} was started")

    for name in ("system", "popen", "posix_spawn", "execv", "fork"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr("subprocess.Popen", refuse)
    assert means_shards(data)
    with pytest.raises(UsageError, match="is not supported, and no command is run"):
        find_shards(data)
    assert not list(shards.parent.glob("ran*"))


def test_braces_without_their_library_name_the_extra(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def missing(name: str, *arguments: Any, **settings: Any) -> Any:
        if name == "braceexpand":
            raise ImportError(name)
        return original(name, *arguments, **settings)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UsageError, match=r"pip install 'inceptcli\[shards\]'"):
        find_shards("set/train-{000..002}.tar")
    assert len(find_shards("set/train-*.tar")) == 3


def test_classes_are_listed_beside_the_shards_or_above_them(shards: Path) -> None:
    (shards.parent / "classes.txt").write_text("ant\r\nbee, the\n")
    assert class_list([shards / "train-000.tar"]) == ("ant", "bee, the")
    (shards / "classes.json").write_text(json.dumps(["x", "y", "z"]))
    assert class_list([shards / "train-000.tar"]) == ("x", "y", "z")
    with pytest.raises(UserError, match="list different classes"):
        class_list([shards / "train-000.tar", shards.parent / "other.tar"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no classes.txt beside the shards; write the class names there"),
        ("{", "not a list of names"),
        ("[" * 100_000, "not a list of names"),
        ('{"a": 1}', "must list class names"),
        ("[1, 2]", "must list class names"),
        ('["a", ""]', "none of them empty"),
        ('["a", "a"]', "at least two names that all differ"),
        ('["a"]', "at least two names"),
    ],
)
def test_a_list_of_classes_that_is_none_is_named(text: str | None, said: str, shards: Path) -> None:
    if text is not None:
        (shards / "classes.json").write_text(text)
    with pytest.raises(UserError, match=said):
        class_list([shards / "train-000.tar"])
