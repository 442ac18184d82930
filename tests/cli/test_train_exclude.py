"""`train --exclude`: listed images are left out of validation, and out of `eval RUN`."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from inceptcli.data.identity import DataIdentity, KeptIdentity
from inceptcli.data.open_data import open_for_training
from inceptcli.recipe.file import read_recipe
from tests.cli.conftest import TINY, check_one_line, inceptcli, picture
from tests.data.class_folders import shard


def fill(root: Path) -> Path:
    """Eight images to train on and six to validate on, of two classes."""
    for split, count in (("train", 4), ("valid", 3)):
        for place, name in enumerate(("ant", "bee")):
            for number in range(count):
                seed = 20 * place + number + 100 * (split == "train")
                picture(root / split / name / f"{number}.png", seed)
    return root


def train(root: Path, *flags: object, run: str = "run") -> Any:
    return inceptcli("train", *TINY, "--data", root / "data", "--output", root / run, *flags)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a list of two of its validation images and a training image, and a run without them."""
    root = tmp_path_factory.mktemp("made")
    fill(root / "data")
    (root / "list.txt").write_text(
        f"ant/0.png\n{root}/data/valid/bee/2.png\n{root}/data/train/ant/1.png\n"
    )
    done = train(root, "--exclude", root / "list.txt")
    assert done.exit_code == 0, done.output
    assert f"validation: 2 of 6 images left out by {root}/list.txt" in done.stderr
    return root


def measured(*arguments: object) -> dict[str, Any]:
    done = inceptcli("eval", *arguments, "--format", "json", "--device", "cpu")
    assert done.exit_code == 0, done.output
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.train
def test_the_run_and_eval_measure_the_same_remaining_images(made: Path, tmp_path: Path) -> None:
    with gzip.open(made / "run/data.jsonl.gz") as file:
        head = json.loads(file.readline())
    assert (head["training"], head["validation"]) == (8, 4)
    assert read_recipe(made / "run/recipe.yaml")["data"]["exclude"] == str(made / "list.txt")
    with (made / "run/metrics.csv").open(newline="") as table:
        (row,) = csv.DictReader(table)
    assert "has changed" not in inceptcli("eval", made / "run", "--quiet").stderr
    own = measured(made / "run", "--predictions", tmp_path / "own.csv")
    assert (own["images"], own["excluded"], own["split"]) == (4, 2, "val")
    assert own["loss"] == pytest.approx(float(row["val_loss"]), abs=1e-4)
    assert own["top1"] == pytest.approx(float(row["val_top1"]), abs=1e-6)
    names = [line.split(",")[0] for line in (tmp_path / "own.csv").read_text().splitlines()[1:]]
    assert [name.split("valid/")[1] for name in names] == [
        "ant/1.png", "ant/2.png", "bee/0.png", "bee/1.png"
    ]  # fmt: skip
    whole = measured(made / "run", "--data", made / "data")
    assert (whole["images"], whole["excluded"]) == (6, 0)
    assert abs(whole["loss"] - own["loss"]) > 1e-4
    rest = measured(made / "run", "--split", "train")
    assert (rest["images"], rest["excluded"]) == (8, 0)
    (tmp_path / "other.txt").write_text("bee/0.png\n")
    other = measured(made / "run", "--exclude", tmp_path / "other.txt")
    assert (other["images"], other["excluded"]) == (5, 1)


@pytest.mark.train
def test_a_run_goes_on_with_its_list_and_with_no_other(made: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(made, root)
    done = train(root)
    check_one_line(done, 2, "the run there has a different data.exclude; `inceptcli train")
    (root / "moved.txt").write_text(f"ant/0.png\n{root}/data/valid/bee/2.png\n")
    done = train(root, "--exclude", root / "moved.txt", "--epochs", 2)
    assert done.exit_code == 0, done.output
    assert read_recipe(root / "run/recipe.yaml")["data"]["exclude"] == str(root / "moved.txt")
    (root / "moved.txt").write_text("ant/0.png\nbee/1.png\n")
    done = train(root, "--exclude", root / "moved.txt", "--epochs", 2)
    check_one_line(done, 2, "1 validation image gone, the first is bee/1.png; 1 validation image")
    (root / "moved.txt").unlink()
    done = train(root, "--exclude", root / "moved.txt", "--epochs", 2)
    check_one_line(done, 2, f"--exclude {root}/moved.txt: No such file")
    away = (made / "list.txt").rename(tmp_path / "away.txt")
    (made / "list.txt").write_text("ant/0.png\nbee/1.png\n")
    for command in (["eval"], ["calibrate", "--output", tmp_path / "a.safetensors"]):
        done = inceptcli(command[0], made / "run", *command[1:], "--quiet")
        assert done.exit_code == 0, done.output
        assert "list.txt: the list, or the data, has changed since" in done.stderr
        assert "1 of these 4 images are not among the 4 on which it validated" in done.stderr
        assert "and 1 of those are left out" in done.stderr
    (made / "list.txt").unlink()
    done = inceptcli("eval", made / "run")
    away.rename(made / "list.txt")
    check_one_line(done, 2, f"validated without the images listed in {made}/list.txt, which is not")


def test_a_split_by_fraction_stays_the_same(tmp_path: Path) -> None:
    """Even if all images are repaired, so that a new split would differ."""
    root = tmp_path / "data"
    for name in ("ant", "bee"):
        for number in range(12):
            picture(root / name / f"{number}.png", number + 50 * (name == "bee"))
    paths = sorted(root.rglob("*.png"))
    (tmp_path / "list.txt").write_text("".join(f"{path}\n" for path in paths[::2]))

    def opened(kept: KeptIdentity | None = None, exclude: bool = True) -> DataIdentity:
        listed = str(tmp_path / "list.txt") if exclude else None
        train, val, classes = open_for_training(str(root), None, 0.5, kept, listed)
        return DataIdentity(classes, train, val)

    first, whole = opened(), opened(exclude=False)
    assert list(first.train.files()) == list(whole.train.files())
    left = [name for name, _ in whole.val.files() if root / name not in paths[::2]]
    assert [name for name, _ in first.val.files()] == left
    assert 0 < len(left) < len(whole.val)
    first.write(tmp_path / "kept")
    for path in paths:
        path.write_bytes(path.read_bytes()[::-1])
    kept = KeptIdentity(tmp_path / "kept")
    assert list(opened().val.files()) != list(first.val.files())
    assert list(opened(kept).val.files()) == list(first.val.files())
    assert list(opened(kept).train.files()) == list(first.train.files())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("ant\n0\n", "list.txt line 2: the number of a validation image must be 1 to 50000"),
        ("ant/0.png\nant/1.png\nant/2.png\nbee/0.png\nbee/1.png\nbee/2.png\n", "excludes all 6"),
    ],
)
def test_wrong_lists_are_refused_before_training(content: str, said: str, tmp_path: Path) -> None:
    fill(tmp_path / "data")
    (tmp_path / "list.txt").write_text(content)
    check_one_line(train(tmp_path, "--exclude", tmp_path / "list.txt"), 1, said)


def test_only_images_in_folders_can_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("ant/0.png\n")
    shard(fill(tmp_path / "whole"), tmp_path / "data")
    done = train(tmp_path, "--exclude", tmp_path / "list.txt")
    check_one_line(done, 2, "list.txt: works for folders and lists only")
    done = inceptcli("train", *TINY, "--exclude", tmp_path / "list.txt", "--output", tmp_path / "x")
    check_one_line(done, 2, "--val-data, --val-fraction and --exclude need --data")
