"""Many crops and several networks; lists of images, less what is left out."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.networks.registry import build, network_options
from inceptcli.weights.file import save
from inceptcli.weights.imagenet_classes import imagenet_classes
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from tests.cli.conftest import check_one_line, inceptcli, picture
from tests.photographs import photographs

CLASSES = tuple(ClassName(f"n{number}", name) for number, name in enumerate(("cat", "dog", "fox")))


def network(
    path: Path, seed: int, classes: tuple[ClassName, ...], preprocessing: Preprocessing
) -> Path:
    """A tiny network whose answers differ from picture to picture, at `path`."""
    torch.manual_seed(seed)
    options = network_options("irv1", num_classes=len(classes), repeats=(1, 1, 1))
    model = build(options)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.rand(8, 3, 75, 75) * torch.rand(8, 3, 1, 1) * 2 - 1)
    save(path, model.state_dict(), WeightsMetadata(options, classes, preprocessing))
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two networks for the same classes in another order; then others, and one not square."""
    folder = tmp_path_factory.mktemp("weights")
    square = Preprocessing((75, 75))
    return [
        network(folder / "a.safetensors", 0, CLASSES, square),
        network(folder / "b.safetensors", 1, CLASSES[::-1], Preprocessing((80, 80), "squash")),
        network(folder / "c.safetensors", 2, (*CLASSES[:2], ClassName("n9", "yak")), square),
        network(folder / "d.safetensors", 3, CLASSES, Preprocessing((75, 90))),
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(6):
        picture(tmp_path / f"n{number % 3}" / f"{number}.png", number)
    return tmp_path


def measured(*arguments: object) -> dict[str, Any]:
    done = inceptcli("eval", *arguments, "--format", "json", "--device", "cpu")
    assert done.exit_code == 0, done.output
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def figures(result: dict[str, Any]) -> dict[str, Any]:
    left_out = ("weights", "crops", "members")
    return {name: value for name, value in result.items() if name not in left_out}


def predicted(folder: Path, *arguments: object) -> dict[tuple[str, str], float]:
    flags = ("--format", "json", "--top-k", 3, "--device", "cpu")
    done = inceptcli("predict", folder, *arguments, *flags)
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    return {(r["path"], p["class"]): p["probability"] for r in rows for p in r["predictions"]}


@pytest.mark.parametrize("crops", [1, 10])
def test_an_ensemble_is_the_mean_of_its_networks(
    crops: int, weights: list[Path], folder: Path
) -> None:
    first, second = weights[:2]
    alone = [
        predicted(folder / "n0", "--weights", file, "--crops", crops) for file in (first, second)
    ]
    flags = ("--weights", first, "--weights", second, "--crops", crops)
    both = predicted(folder / "n0", *flags)
    assert both == pytest.approx({key: (alone[0][key] + alone[1][key]) / 2 for key in both})
    assert len(both) == 6
    assert max(abs(alone[0][key] - alone[1][key]) for key in both) > 0.01
    assert (
        predicted(folder / "n0", "--weights", first, "--weights", first, "--crops", crops)
        == alone[0]
    )


def test_eval_of_an_ensemble_averages_like_predict(weights: list[Path], folder: Path) -> None:
    table = folder / "images.csv"
    one, twice = (measured(*weights[:1] * n, "--data", folder) for n in (1, 2))
    assert figures(one) == figures(twice)
    result = measured(*weights[:2], "--data", folder, "--predictions", table)
    assert result["weights"] == [str(file) for file in weights[:2]]
    assert result["loss"] != one["loss"]
    flags = [flag for file in weights[:2] for flag in ("--weights", file)]
    known = predicted(folder, *flags)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    for row in rows:
        expected = known[row["path"], row["predicted_name"]]
        assert float(row["probability"]) == pytest.approx(expected)
        assert expected == max(known[row["path"], name] for _, name in CLASSES)


@pytest.mark.parametrize("command", ["eval", "predict"])
def test_networks_that_do_not_fit_together_are_refused(
    command: str, weights: list[Path], folder: Path
) -> None:
    def run(*chosen: Path, crops: int) -> Any:
        if command == "eval":
            return inceptcli("eval", *chosen, "--data", folder, "--crops", crops)
        flags = [flag for file in chosen for flag in ("--weights", file)]
        return inceptcli("predict", folder, *flags, "--crops", crops)

    done = run(weights[0], weights[2], crops=1)
    check_one_line(done, 2, f"only {weights[0]} (3 classes) has fox; only {weights[2]} (3 classes)")
    done = run(weights[0], weights[3], crops=144)
    check_one_line(done, 2, f"{weights[3]}: --crops 144 is defined for a square input only")
    assert run(weights[3], crops=11).exit_code == 2


def test_a_list_and_its_folder_give_the_same(weights: list[Path], folder: Path) -> None:
    paths = sorted(folder.rglob("*.png"))
    rows = [f"{path.relative_to(folder)},{path.parent.name}" for path in paths]
    (folder / "list.csv").write_text("\n".join(["path,label", *rows]))
    flags = ("--predictions", folder / "of_list.csv", "--confusion", folder / "pairs.csv")
    listed = measured(weights[0], "--data", folder / "list.csv", *flags)
    assert listed == measured(weights[0], "--data", folder, "--predictions", folder / "other.csv")
    assert (folder / "of_list.csv").read_text() == (folder / "other.csv").read_text()
    with (folder / "pairs.csv").open(newline="") as file:
        pairs = list(csv.DictReader(file))
    assert sum(int(row["images"]) for row in pairs) == 6
    (folder / "list.csv").write_text("path,label\nn0/0.png,wolf\n")
    done = inceptcli("eval", weights[0], "--data", folder / "list.csv")
    check_one_line(done, 1, "list.csv line 2: label wolf is not a class of the weights")


def test_images_that_are_left_out_are_counted(weights: list[Path], folder: Path) -> None:
    (folder / "without.txt").write_text(f"n0/0.png\n{folder}/n1/4.png\nn0/9.png\n")
    flags = ("--data", folder, "--exclude", folder / "without.txt")
    done = inceptcli("eval", weights[0], *flags)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("4 images, 2 excluded: top-1 ")
    assert done.stderr.splitlines() == [
        f"2 of 6 images left out by {folder}/without.txt",
        f"1 of 3 entries of {folder}/without.txt match no image; the first is n0/9.png",
    ]
    result = measured(weights[0], *flags)
    assert (result["images"], result["excluded"]) == (4, 2)
    assert [entry["images"] for entry in result["per_class"]] == [1, 1, 2]
    done = inceptcli("eval", weights[0], "--exclude", folder / "without.txt")
    check_one_line(done, 2, "does not record its training images; give --data")


def test_a_result_that_cannot_be_written_is_found_before_the_work(
    weights: list[Path], folder: Path
) -> None:
    flags = ("--data", folder, "--predictions", folder / "missing/x.csv")
    done = inceptcli("eval", weights[0], *flags)
    check_one_line(done, 2, f"--predictions {folder}/missing/x.csv: No such file")
    done = inceptcli("eval", weights[0], "--data", folder, "--confusion", folder)
    check_one_line(done, 2, f"--confusion {folder}: not a regular file")


def test_no_result_is_left_half_written(weights: list[Path], folder: Path) -> None:
    picture(folder / "n2/9.png", 9)
    (folder / "n2/9.png").write_text("no image")
    (folder / "old.csv").write_text("old")
    done = inceptcli("eval", weights[0], "--data", folder, "--predictions", folder / "old.csv")
    check_one_line(done, 1, "9.png: not an image")
    assert (folder / "old.csv").read_text() == "old"
    assert sorted(path.name for path in folder.iterdir()) == ["n0", "n1", "n2", "old.csv"]


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("imagenet") / "model.safetensors"
    return network(path, 0, imagenet_classes(), Preprocessing((75, 75)))


@pytest.mark.given_data
def test_the_blacklist_leaves_83_of_120_validation_images(given_data: Path, imagenet: Path) -> None:
    folder = given_data / "imagenet-val"
    result = measured(imagenet, "--data", folder, "--exclude", folder / "blacklist.txt")
    assert (result["images"], result["excluded"]) == (83, 37)
    labels = {row["class"]: row["images"] for row in result["per_class"]}
    assert labels["n03895866"] == 1  # the passenger car of image 560, which is kept


def test_numbers_of_validation_images_are_left_out_of_a_flat_folder(
    weights: list[Path], tmp_path: Path
) -> None:
    names = [f"ILSVRC2012_val_{number:08}.JPEG" for number in (7, 36, 360, 50000)]
    for number, name in enumerate(names):
        picture(tmp_path / "images" / name, number)
    lines = [f"{name},{number % 3}\n" for number, name in enumerate(names)]
    (tmp_path / "labels.csv").write_text("".join(["file,class_index\n", *lines]))
    (tmp_path / "synsets.txt").write_text("n2\nn1\nn0\n")
    (tmp_path / "blacklist.txt").write_text("36\n50000\n3\n")
    flags = ("--data", tmp_path, "--exclude", tmp_path / "blacklist.txt")
    result = measured(weights[0], *flags)
    assert (result["images"], result["excluded"]) == (2, 2)
    labels = {row["class"]: row["images"] for row in result["per_class"]}
    assert labels == {"n0": 1, "n1": 0, "n2": 1}


@pytest.mark.parametrize(
    "called",
    [
        {"n01440764": "tench", "n01443537": "Goldfish", "n01484850": "great_white_shark"},
        {"n01440764": "0", "n01443537": "1", "n01484850": "2"},
        {"n01440764": "000", "n01443537": "001", "n01484850": "002"},
    ],
)
def test_folders_that_are_called_by_names_or_numbers_are_those_of_the_ids(
    imagenet: Path, tmp_path: Path, called: dict[str, str]
) -> None:
    for number, (label, folder) in enumerate(called.items()):
        picture(tmp_path / "ids" / "val" / label / "a.png", number)
        picture(tmp_path / "other" / "val" / folder / "a.png", number)
    by_id, other = (measured(imagenet, "--data", tmp_path / name) for name in ("ids", "other"))
    assert other["loss"] == by_id["loss"]
    rows = [
        {row["class"]: row["images"] for row in result["per_class"]} for result in (by_id, other)
    ]
    assert rows[0] == rows[1]
    done = inceptcli("eval", imagenet, "--data", tmp_path / "other")
    assert "folder names were read as class n" in done.stderr


@pytest.mark.parametrize("folders", [("1", "2"), ("0", "tench"), ("crane", "yak"), ("0", "00")])
def test_folders_whose_names_could_mean_two_things_are_refused(
    imagenet: Path, tmp_path: Path, folders: tuple[str, ...]
) -> None:
    for folder in folders:
        picture(tmp_path / folder / "a.png", 0)
    check_one_line(
        inceptcli("eval", imagenet, "--data", tmp_path), 1, "not one of the 1000 classes"
    )


@pytest.mark.system
def test_144_crops_of_photographs_give_another_loss_than_one(
    imagenet: Path, tmp_path: Path
) -> None:
    lines = ["path,label"]
    for (label, _), photo in zip(imagenet_classes(), photographs(3), strict=False):
        path = tmp_path / f"{label}.jpg"
        Image.fromarray(photo).save(path)
        lines.append(f"{path},{label}")
    (tmp_path / "list").mkdir()
    (tmp_path / "list/list.csv").write_text("\n".join(lines))
    flags = ("--data", tmp_path / "list/list.csv", "--allow-outside")
    one, many = (measured(imagenet, *flags, "--crops", crops) for crops in (1, 144))
    assert one["images"] == many["images"] == 3
    assert (one["crops"], many["crops"]) == (1, 144)
    assert abs(many["loss"] - one["loss"]) > 1e-3
    done = inceptcli("eval", imagenet, *flags[:2])
    check_one_line(done, 1, "leaves the file's folder; --allow-outside permits it")
