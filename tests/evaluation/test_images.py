"""Which images `eval` measures, and whether a run trained on them or validated on them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from inceptcli.data.identity import DataIdentity
from inceptcli.data.open_data import open_for_training
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.data.sources import FolderSource
from inceptcli.evaluation.images import (
    MeasuredImages,
    Wanted,
    has_selected,
    images_to_measure,
    with_notes_of_training,
)
from inceptcli.networks.registry import network_options
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from tests.data.class_folders import draw, shard

Weights = tuple[Path, WeightsMetadata]
NAMES = ("cat", "dog")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fill(root: str, count: int, first: int = 0, size: int | None = None) -> list[Path]:
    """Files that start as PNG files do, of different sizes; equal seeds make equal files."""
    files = []
    for number in range(count):
        path = Path(root, NAMES[number % 2], f"{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn = random.Random(first + number)
        content = drawn.randbytes(size or drawn.randrange(1000, 9000))
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
        files.append(path)
    return files


def listing(file: str, images: Iterable[Path]) -> str:
    folder = Path(file).parent
    rows = [f"{image.relative_to(folder)},{image.parent.name}" for image in images]
    Path(file).write_text("\n".join(["path,label", *rows]) + "\n")
    return file


def trained(path: str, **data: Any) -> Weights:
    """The weights of a run on `path`, with its record but without tensors."""
    fraction, exclude = data.get("val_fraction"), data.get("exclude")
    train, val, names = open_for_training(path, data.get("val_path"), fraction, exclude=exclude)
    Path("run").mkdir()
    DataIdentity(names, train, val).write(Path("run/data.jsonl.gz"))
    classes = tuple(ClassName(name, name) for name in names)
    options = network_options("irv1", num_classes=len(names))
    recipe = {"data": {"path": path, **data}}
    metadata = WeightsMetadata(options, classes, Preprocessing((75, 75)), recipe=recipe)
    return Path("run/model.safetensors"), metadata


def measured(weights: Weights, data: str | None = None, **wanted: Any) -> MeasuredImages:
    return with_notes_of_training(images_to_measure(Wanted(data, **wanted), [weights]), [weights])


def said(weights: Weights, data: str | None = None, **wanted: Any) -> str:
    """The notes that images are training images."""
    return " ".join(measured(weights, data, **wanted).trained_on)


def paths(found: MeasuredImages) -> set[Path]:
    assert isinstance(found.source, FolderSource)
    return {*found.source.images.paths}


def link(source: Path, target: str) -> None:
    place = Path(target, source.parent.name, source.name)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(source.resolve())


def test_images_that_are_links_train_where_they_are_and_where_they_lead() -> None:
    for split, first in (("train", 0), ("val", 100)):
        for file in fill(f"pool/{split}", 12, first):
            link(file, f"data/{split}")
    weights = trained("data")
    for wanted in ({"split": "train"}, {"data": "data/train"}, {"data": "pool/train"}):
        assert "was trained on 12 of these 12 images" in said(weights, **wanted)
    own = measured(weights)
    assert (own.trained_on, has_selected(weights[1], own)) == ((), True)


def test_images_that_are_excluded_from_validation_are_training_images() -> None:
    files = fill("data", 20)
    listing("data/val.csv", files[:10])
    Path("list.txt").write_text("".join(f"{f.relative_to('data')}\n" for f in files[:8]))
    weights = trained("data", val_path="data/val.csv", exclude="list.txt")
    assert said(weights) == ""
    assert "was trained on 8 of these 10 images" in said(weights, "data/val.csv")


def test_validation_images_that_are_links_are_none_of_training() -> None:
    files = fill("data", 20)
    for file in files[:8]:
        link(file, "val")
    weights = trained("data", val_path="val")
    assert said(weights) == ""
    assert "was trained on 12 of these 20 images" in said(weights, "data")
    assert said(weights, listing("data/few.csv", files[:8])) == ""
    Path("val").rename("moved")
    assert said(weights, "moved") == ""


def test_links_to_the_same_images_do_not_train_and_validate() -> None:
    for file in fill("pool", 20):
        link(file, "data")
    for file in sorted(Path("pool").rglob("*.png"))[:6]:
        link(file, "val")
    train, val, _ = open_for_training("data", "val", None)
    assert (len(train), len(val)) == (14, 6)


def test_a_validation_list_of_one_class_is_known() -> None:
    files = fill("data", 20)
    listing("data/val.csv", files[:10:2])
    weights = trained("data", val_path="data/val.csv")
    own = measured(weights)
    assert (own.trained_on, has_selected(weights[1], own)) == ((), True)


@pytest.mark.parametrize("size", [None, 2000])
def test_moved_data_keeps_its_parts(size: int | None) -> None:
    """Also where all files have one size, as BMP files of one camera."""
    fill("data/train", 12, 0, size)
    fill("data/val", 6, 100, size)
    fill("data/test", 6, 200, size)
    weights = trained("data")
    Path("data").rename("moved")
    assert said(weights, "moved") == ""
    assert said(weights, "moved", split="test") == ""
    trains = said(weights, "moved", split="train")
    assert f"was trained on {12 if size is None else 6} of these 12 images" in trains


def test_a_copy_of_training_images_is_known() -> None:
    fill("data", 20)
    fill("copy", 20)
    weights = trained("data", val_fraction=0.3)
    validated = len(measured(weights).source)
    assert f"has {20 - validated} of the 20 images" in said(weights, "copy", split="all")
    assert len(measured(weights, "copy").source) == validated


@pytest.mark.parametrize("size", [None, 2000])
def test_other_data_is_measured_whole(size: int | None) -> None:
    fill("data", 200, 0, size)
    weights = trained("data", val_fraction=0.1)
    for path in fill("new", 40, 1000, size):
        path.rename(path.with_name(f"new-{path.name}"))
    fill("alike", 40, 2000, size)  # of equal names
    for data in ("new", "alike"):
        found = measured(weights, data)
        assert (len(found.source), found.split, found.trained_on) == (40, "all", ())
    bare = Path("weights.safetensors"), weights[1]
    assert len(measured(bare, "new").source) == 40
    Path("linked.safetensors").symlink_to("run/model.safetensors")
    Path("run/model.safetensors").touch()
    assert len(measured((Path("linked.safetensors"), weights[1]), "alike").source) == 40


def test_shards_of_the_data_are_split_as_it_is() -> None:
    draw(Path("data"), 30, side=40)
    shard(Path("data"), "shards/part-%d.tar")
    weights = trained("data", val_fraction=0.3)
    found = measured(weights, "shards")
    assert (len(found.source), found.split) == (len(measured(weights).source), "val")


def test_labels_of_images_that_are_excluded_are_told_as_such() -> None:
    files = fill("data", 6)
    labels = {str(file.relative_to("data")): [0] for file in files}
    Path("labels.json").write_text(json.dumps(labels))
    Path("list.txt").write_text("cat/0.png\n")
    weights = trained("data", val_fraction=0.5)
    found = measured(weights, "data", labels=Path("labels.json"), exclude=Path("list.txt"))
    assert "1 of the 6 images in labels.json are not among the 5 to measure" in found.notes


def test_training_images_are_counted_among_those_that_are_measured() -> None:
    files = fill("data/train", 6)
    fill("data/val", 4, 100)
    weights = trained("data")
    labels = {str(file): [0] * (number < 2) for number, file in enumerate(files)}
    Path("labels.json").write_text(json.dumps(labels))
    kept = said(weights, "data", split="train", labels=Path("labels.json"))
    assert "was trained on 2 of these 2 images" in kept
    cats = images_to_measure(Wanted("data", "train"), [weights]).of_classes(Path("cats"), [0])
    assert "was trained on 3 of these 3 images" in with_notes_of_training(cats, [weights]).notes[-1]


def test_the_list_of_a_run_is_split_as_the_run_was() -> None:
    files = fill("data", 20)
    listing("data/all.csv", files)
    Path("list.txt").write_text("cat/0.png\n")
    weights = trained("data/all.csv", val_fraction=0.4, exclude="list.txt")
    bare = Path("weights.safetensors"), weights[1]
    own = paths(measured(weights))
    for each in (weights, bare):
        found = measured(each, "data/all.csv", split="val")
        assert own <= paths(found)
        assert found.trained_on == ()
    Path("data").rename("moved")
    moved = measured(weights, "moved/all.csv")
    assert moved.split == "val"
    grouped = images_to_measure(Wanted("moved/all.csv", "val"), [weights], "label")
    assert paths(grouped) == paths(moved)
    assert grouped.group_of is not None
    assert all(grouped.group_of[str(path)] == path.parent.name for path in paths(moved))
    listing("moved/own.csv", [Path("moved", path.relative_to("data")) for path in own])
    assert said(weights, "moved/own.csv") == ""
    assert "was trained on" in said(weights, "moved/all.csv", split="all")
