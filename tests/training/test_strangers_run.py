"""Small files of a run that somebody else wrote: what is damaged is left out, or named."""

from __future__ import annotations

import gzip
import json
import zlib
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch

from inceptcli.data.identity import KeptIdentity
from inceptcli.errors import UserError
from inceptcli.training.resuming import newest_whole
from inceptcli.training.run_directory import RunDirectory
from inceptcli.training.skipped import read_skipped
from tests.cli.conftest import check_one_line, inceptcli

HOLE = 6 * 2**30


@pytest.mark.parametrize(
    "row",
    ["a,b,train,x", "a,b,train," + "9" * 5000, "a,b,nowhere,0", "a,b,train,-1", "a,b", "\xff"],
)
def test_a_damaged_row_of_skipped_images_is_left_out(row: str, tmp_path: Path) -> None:
    file = tmp_path / "skipped.csv"
    text = f"path,reason,part,number\n{row}\nc,broken,val,3\n"
    file.write_bytes(text.encode("latin-1"))
    assert read_skipped(file) == {("val", 3): "broken"}


@pytest.mark.parametrize("row", ["1," + "9" * 5000, "1", "1,2,3", "\xff,\xff"])
def test_a_damaged_row_of_metrics_is_left_out(row: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_bytes(f"epoch,step\n{row}\n2,6\n".encode("latin-1"))
    assert RunDirectory(tmp_path).read_metrics() == [{"epoch": "2", "step": "6"}]


def test_tables_that_are_none_are_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,step\n1," + "x" * 200_000 + "\n")
    with pytest.raises(UserError, match=r"metrics.csv, line 1: field larger than field limit"):
        RunDirectory(tmp_path).read_metrics()
    with (tmp_path / "skipped.csv").open("wb") as file:
        file.truncate(HOLE)
    with pytest.raises(UserError, match=r"skipped.csv: cannot be read: over the limit"):
        read_skipped(tmp_path / "skipped.csv")


@pytest.mark.parametrize("content", [b"[1]", b"[" * 10**5, b"\xff", b"{" + b" " * 2**20 + b"}"])
def test_a_damaged_name_of_a_logger_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "logger.json").write_bytes(content)
    with pytest.raises(UserError, match="remove it to give the run a new name"):
        RunDirectory(tmp_path).logger_id("wandb")


def test_what_stands_in_a_lock_is_one_short_line_in_the_log(tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(b"\xff\x1b[2J\nsecond line" + bytes(500))
    run = RunDirectory(tmp_path)
    run.open()
    run.close()
    (line,) = (tmp_path / "train.log").read_text().splitlines()
    assert "\x1b" not in line
    assert len(line) < 2000


LINES: dict[str, list[object]] = {
    "sha": [[1]],
    "classes": [{"sha256": "x"}, {"a": 1}],
    "names": [{"sha256": "x"}, [1, 2]],
    "part": [{"sha256": "x"}, ["a"], ["nowhere", 0, "n", 4]],
    "name": [{"sha256": "x"}, ["a"], ["train", 0, 5, 4]],
    "size": [{"sha256": "x"}, ["a"], ["train", 0, "n", "4"]],
    "label": [{"sha256": "x"}, ["a"], ["train", 1, "n", 4]],
    "short": [{"sha256": "x"}, ["a"], ["train"]],
    "nothing": [{"sha256": "x"}],
}


@pytest.mark.parametrize("kind", [*LINES, "nested", "bomb", "one line"])
def test_a_list_of_images_of_other_types_cannot_be_read(kind: str, tmp_path: Path) -> None:
    content = "".join(json.dumps(line) + "\n" for line in LINES.get(kind, [{"sha256": "x"}]))
    content += {"nested": "[" * 10**5}.get(kind, "")
    packed = gzip.compress(content.encode())
    if kind in ("bomb", "one line"):
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        row = b'["train", 0, "n", 4]\n' * 50_000 if kind == "bomb" else b" " * 2**20
        packed = packer.compress(b'{"sha256": "x"}\n["a"]\n')
        packed += b"".join(packer.compress(row) for _ in range(20)) + packer.flush()
    (tmp_path / "data.jsonl.gz").write_bytes(packed)
    with pytest.raises(UserError, match=r"data.jsonl.gz: cannot be read"):
        len(KeptIdentity(tmp_path / "data.jsonl.gz").images)


def archive(**members: bytes) -> bytes:
    file = BytesIO()
    with ZipFile(file, "w", ZIP_DEFLATED) as written:
        for name, content in members.items():
            written.writestr(name, content)
    return file.getvalue()


def checkpoint(**changes: object) -> bytes:
    content: dict[str, object] = {
        "callbacks": {
            "ResumeCheckpoint": {"validated": True, "ranks": 1}, "Recorder": {"waited": 0}
        },
        "global_step": 3, "epoch": 0,
        "loops": {}, "lr_schedulers": [], "optimizer_states": [], "state_dict": {},
        "pytorch-lightning_version": "2.6.0",
    }  # fmt: skip
    file = BytesIO()
    torch.save({key: v for key, v in (content | changes).items() if v is not None}, file)
    return file.getvalue()


STRANGE = {
    "a step that is text": (checkpoint(global_step="x"), "global_step must be"),
    "a step that is huge": (checkpoint(global_step=10**400), "global_step must be"),
    "a step that is infinite": (checkpoint(global_step=float("inf")), "global_step must be"),
    "no version": (checkpoint(**{"pytorch-lightning_version": None}), "pytorch-lightning_version"),
    "compressed": (archive(data=bytes(2**20)), "has no intact checkpoint left"),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_checkpoint_that_is_none_is_named(kind: str, tmp_path: Path) -> None:
    content, said = STRANGE[kind]
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/step-3.ckpt").write_bytes(content)
    (tmp_path / "metrics.csv").write_text("epoch,step\n1,3\n")
    with pytest.raises(UserError, match=said):
        newest_whole(RunDirectory(tmp_path))


@pytest.mark.parametrize("name", ["step-x.ckpt", "step-\u00b2.ckpt"])
def test_a_checkpoint_of_another_name_is_no_step(name: str, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / name).touch()
    (tmp_path / "recipe.yaml").touch()
    done = inceptcli("predict", "a.png", "--weights", tmp_path)
    check_one_line(done, 2, "this run has no model.safetensors yet: step 0 is saved")
