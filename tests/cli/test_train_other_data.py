"""A run goes on with its own data wherever that lies, and with no other."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inceptcli.recipe.file import read_recipe
from inceptcli.weights.file import load_tensors
from tests.cli.conftest import check_one_line, inceptcli, picture
from tests.tiny_network import TINY_FLAGS, TINY_NETWORK
from tests.training.test_resume import stop_at

pytestmark = pytest.mark.train

FLAGS = [
    *TINY_FLAGS, "--batch-size", "4", "--workers", "0", "--image-size", "75", "--accelerator",
    "cpu", "--set", "data.max_skipped=0.3",
]  # fmt: skip


def pictures(root: Path) -> Path:
    """Eight images to train on and four to validate on, of two classes."""
    for split, count in (("train", 4), ("val", 2)):
        for place, name in enumerate(("ant", "bee")):
            for number in range(count):
                picture(root / split / name / f"{number}.png", 20 * place + number + len(split))
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data, and a run of one epoch on it that two can continue."""
    place = tmp_path_factory.mktemp("made")
    pictures(place / "data")
    done = inceptcli(
        "train", *FLAGS, "--epochs", 1, "--data", place / "data", "--output", place / "run"
    )
    assert done.exit_code == 0, done.output
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy of them; the data lies elsewhere now."""
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def exchange(data: Path) -> None:
    for split in ("train", "val"):
        (data / split / "ant").rename(data / split / "x")
        (data / split / "bee").rename(data / split / "ant")
        (data / split / "x").rename(data / split / "bee")


def without_bee(data: Path) -> None:
    picture(data / "train/cow/0.png", 7)
    for split in ("train", "val"):
        shutil.rmtree(data / split / "bee")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (exchange, "2 training images with different content, the first is ant/0.png"),
        (without_bee, "class bee gone, class cow new"),
        (lambda data: picture(data / "train/ant/9.png", 1), "1 training image added, the first is"),
        (lambda data: (data / "val/ant/1.png").unlink(), "1 validation image gone, the first is"),
        (
            lambda data: (data / "train/ant/1.png").rename(data / "train/ant/1b.png"),
            "1 training image gone, the first is ant/1.png; 1 training image added, the first is",
        ),
        (
            lambda data: (data / "val/bee/1.png").write_bytes(b"x"),
            "1 validation image with a different size, the first is bee/1.png",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_run_is_not_continued_on_other_data(
    place: Path, change: Callable[[Path], object], said: str, epochs: int
) -> None:
    run, recipe = place / "run", (place / "run/recipe.yaml").read_bytes()
    change(place / "data")
    done = inceptcli("train", *FLAGS, "--epochs", epochs, "--data", place / "data", "--output", run)
    check_one_line(done, 2, f"not the data that the run in {run} was trained on: {said}")
    assert "already finished" not in done.output
    assert (run / "recipe.yaml").read_bytes() == recipe


def test_data_that_moved_is_the_same(place: Path) -> None:
    (place / "data").rename(place / "moved")
    (place / "moved/val").rename(place / "elsewhere")
    run = place / "run"
    done = inceptcli(
        "train", *FLAGS, "--epochs", 1, "--data", place / "moved/train", "--val-data",
        place / "elsewhere", "--output", run,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "already finished" in done.output
    assert read_recipe(run / "recipe.yaml")["data"]["val_path"] == str(place / "elsewhere")


def test_a_run_whose_record_is_gone_is_not_continued(place: Path) -> None:
    (place / "run/data.jsonl.gz").unlink()
    done = inceptcli(
        "train", *FLAGS, "--epochs", 1, "--data", place / "data", "--output", place / "run"
    )
    check_one_line(done, 2, "data.jsonl.gz, which records the data of the run there, is missing")


def test_a_repaired_image_is_no_longer_counted(tmp_path: Path) -> None:
    data, run = pictures(tmp_path / "data"), tmp_path / "run"
    whole = {name: (data / name).read_bytes() for name in ("train/ant/1.png", "train/bee/2.png")}
    for name in whole:
        (data / name).write_bytes(b"broken")
    flags = [*FLAGS, "--output", run]
    done = inceptcli("train", *flags, "--data", data, "--epochs", 1)
    assert done.exit_code == 0, done.output
    assert f"2 images skipped, see {run}/skipped.csv" in done.stderr

    (data / "train/ant/1.png").write_bytes(whole["train/ant/1.png"])
    data = data.rename(tmp_path / "moved")
    done = inceptcli("train", *flags, "--data", data, "--epochs", 2)
    assert done.exit_code == 0, done.output
    assert "1 image of skipped.csv can be read now and will not be counted" in done.stderr
    assert f"1 image skipped, see {run}/skipped.csv" in done.stderr
    with (run / "skipped.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["path"] == str(data / "train/bee/2.png")
    assert (row["part"], row["number"]) == ("train", "6")

    done = inceptcli("train", *flags, "--data", data, "--epochs", 2)  # the repaired one is known
    assert "already finished" in done.stderr
    (data / "train/ant/1.png").write_bytes(b"broken")
    done = inceptcli("train", *flags, "--data", data, "--epochs", 2)
    check_one_line(done, 2, "1 training image with a different size, the first is ant/1.png")


def test_too_many_unreadable_images_can_be_repaired(tmp_path: Path) -> None:
    data, run = pictures(tmp_path / "data"), tmp_path / "run"
    broken = sorted((data / "train/ant").iterdir())
    whole = [path.read_bytes() for path in broken]
    for path in broken:
        path.write_bytes(b"broken")
    flags = [*FLAGS, "--data", data, "--output", run, "--epochs", 1]
    assert inceptcli("train", *flags).exit_code == 1
    for path, content in zip(broken, whole, strict=True):
        path.write_bytes(content)
    done = inceptcli("train", *flags)
    assert done.exit_code == 0, done.output  # nothing was trained, so it may start anew
    assert not (run / "skipped.csv").exists()


STUDY = """question: Is it so?
measure: mean-error
seeds: [0, 1]
recipe:
  network: {name: irv1, repeats: [1, 1, 1], width: 0.25}
  data: {image_size: 75, batch_size: 4, workers: 0}
  trainer: {epochs: 1, accelerator: cpu}
arms:
  one: {optimizer: {learning_rate: 0.001}}
  two: {optimizer: {learning_rate: 0.002}}
comparisons: [{arm: one, against: two, expected: lower}]
"""


def test_a_study_keeps_to_one_data_set(place: Path) -> None:
    study, output = place / "study.yaml", place / "study"
    study.write_text(STUDY)
    output.mkdir()
    recipe = [
        "--recipe", output / "one.yaml", "--data", place / "data", "--output", output / "one-seed-0"
    ]  # fmt: skip
    (output / "one.yaml").write_text(
        json.dumps(
            {
                "network": TINY_NETWORK,
                "data": {"image_size": 75, "batch_size": 4, "workers": 0},
                "trainer": {"epochs": 1, "accelerator": "cpu"},
            }
        )
    )
    assert inceptcli("train", *recipe).exit_code == 0
    other = pictures(place / "other")
    picture(other / "train/ant/9.png", 77)
    done = inceptcli("study", study, "--data", other, "--output", output)
    check_one_line(done, 2, "1 training image added, the first is ant/9.png")
    assert not (output / "two-seed-0").exists()


@pytest.mark.train
@pytest.mark.parametrize("seed", range(4))
def test_a_resumed_run_continues_exactly_or_refuses(place: Path, seed: int) -> None:
    """Any few of some changes; what they leave alone ends with the weights of a run left alone."""
    data, run, alone = place / "data", place / "run", place / "alone"
    shutil.copytree(run, alone)
    shutil.copytree(data, place / "untouched")
    done = inceptcli(
        "train", *FLAGS, "--epochs", 2, "--data", place / "untouched", "--output", alone
    )
    assert done.exit_code == 0, done.output
    draw = random.Random(seed)
    changes: list[Callable[[Path], object]] = [
        exchange,
        without_bee,
        lambda data: picture(data / "train/ant/9.png", 1),
        lambda data: (data / "train/ant/2.png").unlink(),
    ]
    chosen = draw.sample(changes, seed % 2)
    for change in chosen:
        change(data)
    for path in data.rglob("*.png"):
        os.utime(path, (draw.randrange(10**9), draw.randrange(10**9)))
    data = data.rename(place / f"moved-{seed}")
    done = inceptcli("train", *FLAGS, "--epochs", 2, "--data", data, "--output", run)
    if chosen:
        check_one_line(done, 2, "not the data")
        return
    assert done.exit_code == 0, done.output
    ours, theirs = (load_tensors(folder / "model.safetensors") for folder in (run, alone))
    assert all((ours[key] == theirs[key]).all() for key in theirs)


def again(place: Path, *flags: object) -> Any:
    return inceptcli("train", *FLAGS, "--data", place / "data", "--output", place / "run", *flags)


def test_other_epochs_are_said_to_change_the_schedule_and_never_those_trained(place: Path) -> None:
    done = again(place, "--epochs", 2)
    assert done.exit_code == 0, done.output
    assert (
        "trainer.epochs changed from 1 to 2: the learning rate now follows the schedule"
        in done.stderr
    )
    assert read_recipe(place / "run" / "recipe.yaml")["trainer"]["epochs"] == 2
    done = again(place, "--epochs", 1)
    check_one_line(done, 2, "--epochs 1: the run there has already reached epoch 2")
    assert read_recipe(place / "run" / "recipe.yaml")["trainer"]["epochs"] == 2


def test_a_run_cut_to_the_epochs_it_has_keeps_those_of_its_schedule(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(3, patch)  # in the second epoch, whose first is saved
        assert again(place, "--epochs", 2).exit_code == 75
    newest = max((place / "run" / "checkpoints").iterdir())
    newest.unlink()
    done = again(place, "--epochs", 1)
    assert done.exit_code == 0
    assert "already finished after 2 steps" in done.stderr
    assert read_recipe(place / "run" / "recipe.yaml")["trainer"]["epochs"] == 2


@pytest.mark.parametrize("content", [b"a,b\n\xff", b"epoch,step\n1,x\n", b"\0" * 99])
def test_a_damaged_table_of_metrics_ends_no_run(place: Path, content: bytes) -> None:
    (place / "run" / "metrics.csv").write_bytes(content)
    assert again(place, "--epochs", 2).exit_code == 0
    with (place / "run" / "metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["epoch"] == "2"


def test_a_checkpoint_of_another_name_is_known_by_its_step(place: Path) -> None:
    (checkpoint,) = sorted((place / "run" / "checkpoints").iterdir())[-1:]
    checkpoint.rename(checkpoint.with_name("step-000000999.ckpt"))
    done = again(place, "--epochs", 1)
    assert "already finished after 2 steps" in done.stderr


def test_data_that_is_left_out_is_named(place: Path) -> None:
    done = inceptcli("train", *FLAGS, "--epochs", 1, "--output", place / "run")
    check_one_line(done, 2, "the run there trains on")
    assert "give --data" in done.stderr


def test_classes_without_validation_images_are_named(place: Path, tmp_path: Path) -> None:
    shutil.rmtree(place / "data" / "val" / "bee")
    done = inceptcli(
        "train", *FLAGS, "--epochs", 1, "--data", place / "data", "--output", tmp_path / "new"
    )
    assert done.exit_code == 0
    assert "no validation images of 1 of 2 classes: bee" in done.stderr


def test_a_class_folder_that_is_spelled_otherwise_is_compared_with_the_classes(place: Path) -> None:
    (place / "data" / "val" / "bee").rename(place / "data" / "val" / "Bee")
    done = inceptcli("train", *FLAGS, "--data", place / "data", "--output", place / "new")
    check_one_line(done, 1, "did you mean bee; rename the folder")


@pytest.mark.skipif(os.getuid() == 0 and shutil.which("setpriv") is None, reason="root may all")
def test_checkpoints_that_cannot_be_written_are_one_line(place: Path) -> None:
    checkpoints = place / "run" / "checkpoints"
    checkpoints.chmod(0o555)
    bound = "-dac_override,-dac_read_search"
    command = ["setpriv", f"--bounding-set={bound}"] if os.getuid() == 0 else []
    flags = ["--epochs", "2", "--data", str(place / "data"), "--output", str(place / "run")]
    done = subprocess.run(
        [*command, sys.executable, "-m", "inceptcli", "train", *FLAGS, *flags],
        capture_output=True,
        text=True,
        check=False,
    )
    checkpoints.chmod(0o755)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].endswith(f"{checkpoints} cannot be written")
