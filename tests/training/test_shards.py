"""Training from shards is training from the folder that they were made of, bit by bit."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from inceptcli.data.loading.dataset import EvaluationDataset, TrainingDataset, collate
from inceptcli.data.loading.sampler import PositionedSampler, ShareSampler
from inceptcli.data.open_data import open_for_training
from inceptcli.data.pixels.augmentation import training_transform
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.data.sources import ImageSource
from inceptcli.errors import UserError
from tests.data.class_folders import draw, shard
from tests.data.test_augmentation import varied
from tests.tiny_network import TINY_FLAGS
from tests.training.conftest import Train
from tests.training.test_resume import assert_same_run, rows, stop_at


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many pictures as the tiny recipe draws: 22 to train on and 10 to validate on."""
    root = tmp_path_factory.mktemp("data")
    draw(root / "train", 22, side=80)
    draw(root / "val", 10, first=100, side=80)
    return root


@pytest.fixture(scope="module")
def shards(folder: Path) -> str:
    shard(folder, folder.with_name("shards"), 5)
    return str(folder.with_name("shards"))


def test_shards_end_with_the_weights_and_figures_of_their_folder(
    train: Train, folder: Path, shards: str
) -> None:
    changes = {"data__sampling": "balanced", "loss": {"class_weights": "balanced"}}
    assert_same_run(
        train("balanced folder", data__path=str(folder), **changes),
        train("balanced shards", data__path=shards, **changes),
    )
    plain = train("folder", data__path=str(folder))
    shard(folder, folder.with_name("others"), 9, seed=3)
    others = f"{folder.with_name('others')}/*.tar"
    assert_same_run(plain, train("others", data__path=others, data__workers=2))


def test_a_run_from_shards_that_was_stopped_resumes_to_the_same_weights(
    train: Train, shards: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = train("undisturbed", data__path=shards)
    with monkeypatch.context() as patch:
        stop_at(7, patch)  # the third batch of the second epoch
        with pytest.raises(SystemExit) as stopped:
            train("stopped", data__path=shards, data__workers=1)
    assert stopped.value.code == 75
    assert_same_run(undisturbed, train("stopped", data__path=shards))


def listed(folder: Path) -> dict[str, str]:
    with (folder / "skipped.csv").open(newline="") as file:
        return {row["path"]: row["reason"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("indexed", [True, False])
def test_a_truncated_shard_and_a_member_that_is_no_image_are_skipped_and_listed(
    train: Train, folder: Path, tmp_path: Path, indexed: bool
) -> None:
    output = tmp_path / "shards"
    shard(folder, output, 5)
    cut, hit = output / "train-000001.tar", output / "train-000003.tar"
    index = json.loads((output / "train-000001.tar.json").read_text())
    # Through the fourth of five images.
    cut.write_bytes(cut.read_bytes()[: index["offsets"][3] + 5000])
    other = json.loads((output / "train-000003.tar.json").read_text())
    content = bytearray(hit.read_bytes())
    content[other["offsets"][2] : other["offsets"][2] + 8] = b"no image"
    hit.write_bytes(content)
    if not indexed:
        for path in output.glob("*.tar.json"):
            path.unlink()
    settings = {"data__path": str(output), "data__batch_size": 2}
    with pytest.raises(UserError, match=r"could not be read, more than data\.max_skipped 0\.01"):
        train("strict", **settings)
    directory = train("run", **settings, data__max_skipped=0.5)
    skipped = listed(directory.path)
    broken = {f"{cut}/{index['members'][3]}", f"{hit}/{other['members'][2]}"}
    broken |= {f"{cut}/{index['members'][4]}"} if indexed else {str(cut)}
    assert skipped.keys() == broken
    assert skipped[f"{hit}/{other['members'][2]}"].startswith("not an image")
    assert len(rows(directory)) == 2


def in_rank(source: ImageSource, rank: int, workers: int) -> tuple[list[int], list[int]]:
    """Numbers of the images that a rank of two trains on in an epoch, and validates on."""
    transform = training_transform((16, 16), varied())
    crop = Preprocessing((16, 16), "short-side", 1.0, "bilinear", (0.5,) * 3, (0.5,) * 3)
    loaders = (
        DataLoader(
            TrainingDataset(source, transform, 0),
            batch_size=4,
            sampler=PositionedSampler(len(source), 4, 0, lambda: 0, rank, 2),
            num_workers=workers,
            collate_fn=collate,
            drop_last=True,
        ),
        DataLoader(
            EvaluationDataset(source, crop),
            batch_size=4,
            sampler=ShareSampler(len(source), rank, 2),
            num_workers=workers,
            collate_fn=collate,
        ),
    )
    train, val = ([n for batch in loader for n in batch.numbers.tolist()] for loader in loaders)
    return train, val


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> str:
    """200 pictures in 7 shards, each of them once to train on and once to validate on."""
    root = tmp_path_factory.mktemp("seven")
    for split in ("train", "val"):
        draw(root / "data" / split, 200)
    shard(root / "data", root / "shards", 29)
    return str(root / "shards")


@pytest.mark.system
@pytest.mark.parametrize("workers", [0, 2])
def test_two_ranks_see_every_sample_of_seven_shards_exactly_once(seven: str, workers: int) -> None:
    source, _, _ = open_for_training(seven, None, None)
    assert len({Path(source.name(index)).parent for index in range(200)}) == 7
    ranks = [in_rank(source, rank, workers) for rank in (0, 1)]
    for shares in zip(*ranks, strict=True):
        assert [len(share) for share in shares] == [100, 100]  # 25 batches: an odd number
        assert Counter(shares[0] + shares[1]) == Counter(range(200))


@pytest.mark.system
def test_two_processes_count_as_one_does(seven: str, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def inceptcli(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "inceptcli", *arguments],
            capture_output=True, text=True, check=False, cwd=tmp_path, env=environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    inceptcli(
        "train", *TINY_FLAGS, "--image-size", "75",
        "--epochs", "1", "--workers", "0", "--batch-size", "20", "--accelerator", "cpu",
        "--devices", "2", "--strategy", "ddp", "--output", "run",
        "--data", f"{seven}/{{train-{{000000..000006}},val-*}}.tar",
    )  # fmt: skip
    assert "200 training and 200 validation" in (tmp_path / "run/train.log").read_text()
    with (tmp_path / "run/metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["step"] == "5"
    alone = json.loads(inceptcli("eval", "run", "--data", f"{seven}/val-*.tar", "--format", "json"))  # fmt: skip  # noqa: E501
    assert alone["images"] == 200
    assert float(row["val_top1"]) == round(alone["top1"], 6)
    for name in ("top5", "macro_f1", "balanced_accuracy"):
        assert float(row[f"val_{name}"]) == pytest.approx(alone[name], abs=1e-6)
    assert float(row["val_loss"]) == pytest.approx(alone["loss"], abs=1e-5)
