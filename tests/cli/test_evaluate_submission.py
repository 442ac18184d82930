"""`eval --submission`: ILSVRC's form, a line of five labels for each image."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.weights.imagenet_classes import ilsvrc_numbers, imagenet_classes
from inceptcli.weights.metadata import ClassName
from tests.cli.conftest import check_one_line, inceptcli, picture
from tests.cli.test_evaluate_protocols import network

CLASSES = tuple(
    entry
    for entry in imagenet_classes()
    if entry.id in ("n01440764", "n01751748", "n02105855", "n02119789", "n03255030", "n04263257")
)
SQUARE = Preprocessing((75, 75))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two networks for six of ILSVRC's classes, in another order."""
    folder = tmp_path_factory.mktemp("weights")
    return [
        network(folder / "a.safetensors", 0, CLASSES, SQUARE),
        network(folder / "b.safetensors", 1, CLASSES[::-1], SQUARE),
    ]


def names(count: int, part: str = "test") -> list[str]:
    return [f"ILSVRC2012_{part}_{number:08}.JPEG" for number in range(1, count + 1)]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Four test images, as the archive of ILSVRC has them."""
    for number, name in enumerate(names(4)):
        picture(tmp_path / "ilsvrc" / "test" / name, number)
    return tmp_path / "ilsvrc"


def submitted(file: Path) -> list[list[int]]:
    return [list(map(int, line.split(" "))) for line in file.read_text().splitlines()]


def test_the_numbers_are_those_of_the_development_kit() -> None:
    numbers = ilsvrc_numbers()
    assert sorted(numbers.values()) == [*range(1, 1001)]
    # The first validation images: the devkit's ground truth beside TensorFlow's list of synsets.
    synsets = ("n01751748", "n09193705", "n02105855", "n04263257")
    assert [numbers[synset] for synset in synsets] == [490, 361, 171, 822]
    assert (numbers["n02119789"], numbers["n03255030"]) == (1, 1000)  # kit fox and dumbbell


@pytest.mark.parametrize("options", [(), ("--crops", "10", "--batch-size", "3")])
def test_unlabeled_test_images_have_a_line_of_five_labels_each(
    options: tuple[str, ...], weights: list[Path], images: Path, tmp_path: Path
) -> None:
    output = tmp_path / "test.txt"
    done = inceptcli("eval", *weights, "--data", images, *options, "--submission", output)
    assert done.exit_code == 0, done.output
    crops = ", 10 crops each" if options else ""
    assert done.stdout == f"4 images without labels, split test{crops}, 2 networks\n"
    assert "wrote " in done.stderr
    assert "the submission has 4 lines, but there are 100,000 test images" in done.stderr
    flags = [flag for file in weights for flag in ("--weights", file)]
    predicted = inceptcli(
        "predict", images, *flags, *options, "--device", "cpu", "--format", "json"
    )
    number_of = {entry.name: ilsvrc_numbers()[entry.id] for entry in CLASSES}
    for row, labels in zip(json.loads(predicted.stdout), submitted(output), strict=True):
        assert labels == [number_of[entry["class"]] for entry in row["predictions"]]


def test_an_unreadable_image_shifts_no_line(
    weights: list[Path], images: Path, tmp_path: Path
) -> None:
    whole, output = tmp_path / "whole.txt", tmp_path / "test.txt"
    assert inceptcli("eval", weights[0], "--data", images, "--submission", whole).exit_code == 0
    (images / "test" / names(4)[1]).write_text("no image")
    output.write_text("old")
    flags = ("--data", images, "--submission", output)
    check_one_line(inceptcli("eval", weights[0], *flags), 1, "00000002.JPEG: not an image")
    assert output.read_text() == "old"
    done = inceptcli("eval", weights[0], *flags, "--skip-unreadable", "--format", "json")
    assert done.exit_code == 0, done.output
    expected = submitted(whole)
    assert submitted(output) == [expected[0], [1, 2, 3, 4, 5], *expected[2:]]
    assert "1 of 4 lines of the submission have the labels 1 2 3 4 5" in done.stderr
    assert "in place of an unreadable image: line 2" in done.stderr
    result = json.loads(done.stdout)
    assert (result["images"], result["split"], result["top1"]) == (3, "test", None)
    assert [Path(entry["path"]).name for entry in result["skipped"]] == [names(4)[1]]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ilsvrc", "test.txt", "whole.txt"]


def test_validation_images_in_class_folders_are_measured_and_keep_the_order_of_their_numbers(
    weights: list[Path], tmp_path: Path
) -> None:
    flat, folders = tmp_path / "flat", tmp_path / "folders"
    for number, name in enumerate(names(5, "val")):
        picture(flat / name, number)
        picture(folders / CLASSES[-1 - number].id / name, number)
    done = inceptcli("eval", weights[0], "--data", flat, "--submission", tmp_path / "flat.txt")
    assert done.stdout.startswith("5 images without labels, split val")
    flags = ("--submission", tmp_path / "folders.txt", "--predictions", tmp_path / "images.csv")
    done = inceptcli("eval", weights[0], "--data", folders, *flags, "--format", "json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["top1"] is not None
    assert submitted(tmp_path / "folders.txt") == submitted(tmp_path / "flat.txt")
    lines = ["file,label", *(f"{name},{CLASSES[0].id}" for name in names(5, "val"))]
    (flat / "labels.csv").write_text("\n".join(lines))
    done = inceptcli("eval", weights[0], "--data", flat, "--submission", tmp_path / "again.txt")
    assert "top-1" in done.stdout
    assert submitted(tmp_path / "again.txt") == submitted(tmp_path / "flat.txt")


@pytest.mark.parametrize(
    ("added", "removed", "said"),
    [
        ("cat.jpg", None, "cat.jpg is not named as ILSVRC's images are"),
        ("ILSVRC2012_test_00000002.jpg", None, "are both image 2; remove one of them"),
        ("ILSVRC2012_val_00000005.JPEG", None, "are of two sets of images"),
        ("ILSVRC2012_test_00100001.JPEG", None, "is not one of the 100,000 test images"),
        ("ILSVRC2012_test_00000000.JPEG", None, "is not one of the 100,000 test images"),
        (None, 2, "image 3 is missing, ILSVRC2012_test_00000003.JPEG"),
    ],
)
def test_names_out_of_the_sequence_are_one_line(
    added: str | None, removed: int | None, said: str, weights: list[Path], images: Path
) -> None:
    if added is not None:
        picture(images / "test" / added, 9)
    if removed is not None:
        (images / "test" / names(4)[removed]).unlink()
    output = images / "out.txt"
    check_one_line(inceptcli("eval", weights[0], "--data", images, "--submission", output), 1, said)
    assert not output.exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--exclude", "list.txt"], "--exclude: may leave out images"),
        (["--classes", "list.txt"], "--classes: may leave out images"),
        (["--labels", "real.json"], "--labels: may leave out images"),
        (["--report", "a.html"], "--report a.html: the images have no labels"),
        (["--predictions", "a.csv"], "--predictions a.csv: the images have no labels"),
        (["--bootstrap", "100"], "--bootstrap: the images have no labels"),
        (["--against", "{weights}"], "--against: the images have no labels"),
        (["--submission", "a.csv"], "--submission a.csv: must end in .txt"),
        (["--submission", "{weights}"], "must end in .txt"),
    ],
)
def test_options_that_need_labels_or_leave_out_images_are_one_line(
    flags: list[str], said: str, weights: list[Path], images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(images.parent)
    Path("list.txt").write_text("n01440764\n" if "--classes" in flags else "1\n")
    Path("real.json").write_text("{}")
    flags = [flag.format(weights=weights[0]) for flag in flags]
    done = inceptcli("eval", weights[0], "--data", images, "--submission", "out.txt", *flags)
    check_one_line(done, 2, said)
    assert not Path("out.txt").exists()


def test_other_classes_and_too_few_of_them_are_one_line(images: Path, tmp_path: Path) -> None:
    four = network(tmp_path / "four.safetensors", 0, CLASSES[:4], SQUARE)
    flowers = (*CLASSES[:4], ClassName("daisy", "daisy"))
    strange = network(tmp_path / "flowers.safetensors", 0, flowers, SQUARE)
    for weights, said in ((four, "needs at least 5 classes"), (strange, "class daisy is not")):
        done = inceptcli("eval", weights, "--data", images, "--submission", tmp_path / "a.txt")
        check_one_line(done, 2, said)


@pytest.mark.system
def test_several_processes_write_the_same_lines(
    weights: list[Path], images: Path, tmp_path: Path
) -> None:
    command = [weights[0], "--data", images, "--skip-unreadable", "--submission"]
    (images / "test" / names(4)[2]).write_text("no image")
    assert inceptcli("eval", *command, tmp_path / "one.txt").exit_code == 0
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         "-m", "inceptcli", "eval", *map(str, command), str(tmp_path / "two.txt")],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert submitted(tmp_path / "two.txt") == submitted(tmp_path / "one.txt")
    assert submitted(tmp_path / "two.txt")[2] == [1, 2, 3, 4, 5]
