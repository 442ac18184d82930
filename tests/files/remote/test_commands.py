"""Remote files as people name them: on the command line, in lists and in label files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inceptcli.errors import UsageError, UserError
from tests.cli.conftest import check_one_line, inceptcli
from tests.data.class_folders import draw as draw_classes
from tests.data.class_folders import shard
from tests.files.remote.loopback_https import Server
from tests.prediction.conftest import draw, save_small_network


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_network(tmp_path_factory.mktemp("run") / "model.safetensors")


@pytest.fixture
def cats(server: Server) -> str:
    """Where three pictures are served, which lie in served/photos, too."""
    for number in range(3):
        draw(server.folder / f"photos/{number}.png", number, (200, 150))
    return f"{server.url}/photos"


def rows(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_predict_answers_for_addresses_as_for_files(
    server: Server, cats: str, weights: Path
) -> None:
    local = inceptcli(
        "predict", *sorted((server.folder / "photos").iterdir()), "--weights", weights,
        "--format", "jsonl", "--quiet",
    )  # fmt: skip
    addresses = [f"{cats}/{number}.png" for number in range(3)]
    for _ in range(2):
        done = inceptcli("predict", *addresses, "--weights", weights, "--format", "jsonl")
        assert done.exit_code == 0, done.output
        found = rows(done.stdout)
        assert [row["path"] for row in found] == addresses
        expected = [row["predictions"] for row in rows(local.stdout)]
        assert [row["predictions"] for row in found] == expected
    assert len(server.asked) == 6


def test_an_image_that_cannot_be_fetched_is_named_and_the_rest_is_done(
    server: Server, cats: str, weights: Path, tmp_path: Path
) -> None:
    (server.folder / "photos/text.png").write_text("no image")
    signed = f"{cats}/1.png?Signature=hunter2"
    addresses = [
        f"{cats}/0.png", f"{cats}/none.png", signed, f"{cats}/text.png", f"{cats}/*.png",
        f"{cats}/",
    ]  # fmt: skip
    gallery = tmp_path / "gallery.html"
    done = inceptcli(
        "predict", *addresses, "--weights", weights, "--format", "jsonl", "--gallery", gallery
    )
    assert done.exit_code == 1
    errors = [row["error"] for row in rows(done.stdout)]
    assert errors[:3] == [None, "cannot be fetched: HTTP 404", None]
    assert errors[3] is not None
    assert (
        errors[4]
        == errors[5]
        == ("https cannot list folders or patterns; give the address of each file")
    )
    assert f"{cats}/none.png: cannot be fetched: HTTP 404" in done.stderr
    assert rows(done.stdout)[2]["path"] == f"{cats}/1.png?Signature=..."
    assert gallery.read_text().count("data:image/jpeg") == 2
    assert "hunter2" not in done.output + gallery.read_text()


def test_a_list_on_standard_input_has_addresses_too(
    cats: str, server: Server, weights: Path
) -> None:
    local = server.folder / "photos/1.png"
    listed = f"{cats}/0.png\n{local}\npipe:cat /etc/passwd\nfile:///etc/passwd\n{cats}/2.png\n"
    done = subprocess.run(
        [sys.executable, "-m", "inceptcli", "predict", "-", "--weights", str(weights), "--format",
         "jsonl"],
        input=listed, capture_output=True, text=True, env=dict(os.environ), check=False,
    )  # fmt: skip
    assert done.returncode == 1
    found = rows(done.stdout)
    assert [row["path"] for row in found] == listed.splitlines()
    assert [bool(row["error"]) for row in found] == [False, False, True, True, False]
    assert "no command is run" in found[2]["error"]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("pipe:cat /etc/passwd", "is not supported"),
        ("file:///etc/passwd", "is not supported"),
        ("http://host/cat.jpg", "is not supported"),
        ("s3://bucket/../x", "must not contain an empty path part"),
        ("simplecache::https://host/cat.jpg", "is not supported"),
        ("https://host/\x1b.jpg", "control characters"),
        ("https://a:b@host/cat.jpg", "must not contain a user name or password"),
    ],
)
def test_an_address_that_is_not_supported_is_wrong_use(
    argument: str, said: str, weights: Path
) -> None:
    done = inceptcli("predict", argument, "--weights", weights)
    check_one_line(done, 2, said)


def test_eval_reads_a_remote_list(server: Server, cats: str, weights: Path, tmp_path: Path) -> None:
    table = "path,label\nphotos/0.png,0\nphotos/1.png,1\nphotos/2.png,2\n"
    (server.folder / "labels.csv").write_text(table)
    remote, local = tmp_path / "remote.csv", tmp_path / "local.csv"
    for data, written in (
        (f"{server.url}/labels.csv", remote),
        (server.folder / "labels.csv", local),
    ):
        done = inceptcli(
            "eval", weights, "--data", data, "--format", "json", "--predictions", written
        )
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["images"] == 3
    there = remote.read_text().replace(server.url, str(server.folder))
    assert there == local.read_text()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/etc/passwd", "line 2: /etc/passwd: a remote list cannot name a local file"),
        ("file:///etc/passwd", "line 2: file:///etc/passwd: file: is not supported"),
        ("../0.png", "must not contain an empty path part, . or .."),
        ("https://elsewhere/0.png", "leaves the file's folder; --allow-outside permits it"),
        ("pipe:cat 0.png", "pipe: is not supported, and no command is run"),
    ],
)
def test_a_remote_list_names_no_local_file(
    path: str, said: str, server: Server, weights: Path
) -> None:
    (server.folder / "labels.csv").write_text(f"path,label\n{path},0\n")
    done = inceptcli("eval", weights, "--data", f"{server.url}/labels.csv")
    check_one_line(done, 1, said)
    assert f"{server.url}/labels.csv line 2" in done.stderr
    done = inceptcli("eval", weights, "--data", f"{server.url}/none.csv")
    check_one_line(done, 1, "none.csv: cannot be fetched: HTTP 404")


def test_data_check_reads_remote_shards(server: Server, tmp_path: Path) -> None:
    draw_classes(tmp_path / "data" / "train", 4)
    shard(tmp_path / "data", server.folder / "set", 4)
    done = inceptcli("data", "check", f"{server.url}/set/train-000000.tar", "--format", "json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["images"] == 4
    done = inceptcli("data", "check", f"{server.url}/set/none.tar")
    check_one_line(done, 1, "none.tar: cannot be fetched (HTTP 404)")


def test_predict_reads_folders_patterns_and_shards_of_s3(
    bucket: Any, tmp_path: Path, weights: Path
) -> None:
    for number in range(2):
        draw(tmp_path / f"{number}.png", number, (200, 150))
        bucket.upload_file(str(tmp_path / f"{number}.png"), "bucket", f"photos/{number}.png")
    bucket.put_object(Bucket="bucket", Key="photos/notes.txt", Body=b"text")
    bucket.put_object(Bucket="bucket", Key="photos/@eaDir/0.png", Body=b"text")
    draw_classes(tmp_path / "data" / "train", 4)
    shard(tmp_path / "data", tmp_path / "shards", 4)
    for path in (tmp_path / "shards").iterdir():
        bucket.upload_file(str(path), "bucket", f"set/{path.name}")
    arguments = ["s3://bucket/photos", "s3://bucket/photos/*.png", "s3://bucket/set/*.tar",
                 "s3://bucket/none/*.png"]  # fmt: skip
    done = inceptcli("predict", *arguments, "--weights", weights, "--format", "jsonl")
    assert done.exit_code == 1
    found = rows(done.stdout)
    pictures = [f"s3://bucket/photos/{number}.png" for number in range(2)]
    assert [row["path"] for row in found[:4]] == pictures * 2
    assert all(row["path"].startswith("s3://bucket/set/train-000000.tar/") for row in found[4:-1])
    assert len(found) == 9
    assert [row["error"] for row in found if row["error"]] == ["no file matches this pattern"]
    assert "left out 2 files" in done.stderr
    assert "hunter2" not in done.output


def test_shards_of_s3_are_data(bucket: Any, tmp_path: Path) -> None:
    from inceptcli.data.open_data import open_for_training

    for split, count in (("train", 11), ("val", 4)):
        draw_classes(tmp_path / "data" / split, count)
    shard(tmp_path / "data", tmp_path / "shards", 4)
    for path in (tmp_path / "shards").iterdir():
        bucket.upload_file(str(path), "bucket", f"set/{path.name}")
        for split in ("train", "val"):
            if path.name.startswith((split, "classes")):
                bucket.upload_file(
                    str(path), "bucket", f"folders/{split}/{path.name.replace(split, 'part')}"
                )
    plain = open_for_training(str(tmp_path / "data"), None, None)
    for data in ("s3://bucket/set/*.tar", "s3://bucket/folders/{train,val}/*.tar"):
        train, val, classes = open_for_training(data, None, None)
        assert (len(train), len(val), classes) == (len(plain[0]), len(plain[1]), plain[2])
        assert (train.image(2) == plain[0].image(2)).all()
    with pytest.raises(UsageError, match="no file matches this pattern"):
        open_for_training("s3://bucket/none/*.tar", None, None)
    with pytest.raises(UserError, match=r"cannot be fetched \(no such file\); run the same"):
        open_for_training("s3://bucket/set/none.tar", None, None)


def test_a_local_image_needs_no_library_of_remote_files(weights: Path, tmp_path: Path) -> None:
    draw(tmp_path / "cat.png", 1, (200, 150))
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "inceptcli", "predict", "--weights",
         str(weights), str(tmp_path / "cat.png")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "inceptcli.files.remote.address" in loaded
    assert not loaded & {
        "fsspec", "aiohttp", "s3fs", "ssl", "urllib.request", "http.client", "huggingface_hub",
        "inceptcli.files.remote.copies", "inceptcli.data.label_files",
    }  # fmt: skip
