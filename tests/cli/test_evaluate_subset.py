"""`eval --classes FILE`: only the listed classes compete, as for ImageNet-A and -R."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import inceptcli as python
from inceptcli.evaluation.recorded_measures import measures_in
from inceptcli.networks.registry import network_options
from inceptcli.weights.file import load_tensors, read_metadata, save
from tests.cli.conftest import check_one_line, inceptcli
from tests.data.class_folders import shard
from tests.prediction.conftest import IDS, draw, save_small_network

SUBSET = (1, 2, 4)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures of each of the six classes, and the list of three of them."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(18):
        draw(root / "data" / IDS[number % 6] / f"{number}.png", number, (100, 90))
    (root / "three.txt").write_text(f"{IDS[4]}\n\n{IDS[1]}\r\n{IDS[2]}")
    return root


@pytest.fixture(scope="module")
def reversed_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_network(tmp_path_factory.mktemp("b") / "b.safetensors", IDS[::-1])


def cut_down(weights: Path, path: Path) -> Path:
    """The same network without the rows of the other classes."""
    own, tensors = read_metadata(weights), load_tensors(weights)
    kept = [n for n, entry in enumerate(own.classes) if int(entry.id[1:]) in SUBSET]
    for name in ("classifier.weight", "classifier.bias"):
        tensors[name] = tensors[name][kept].contiguous()
    options = network_options("irv1", num_classes=len(kept), repeats=(1, 1, 1))
    classes = tuple(own.classes[n] for n in kept)
    save(path, tensors, replace(own, network=options, classes=classes))
    return path


def measured(*arguments: object) -> dict[str, Any]:
    done = inceptcli("eval", *arguments, "--format", "json", "--device", "cpu")
    assert done.exit_code == 0, done.output
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_the_rest_is_as_if_the_networks_had_no_other_classes(
    photos: Path, weights: Path, reversed_weights: Path, tmp_path: Path
) -> None:
    files = (weights, reversed_weights)
    flags = ("--data", photos / "data", "--crops", 10)
    given = measured(*files, *flags, "--classes", photos / "three.txt")
    for number in SUBSET:
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / IDS[number]).symlink_to(photos / "data" / IDS[number])
    smaller = [cut_down(file, tmp_path / file.name) for file in files]
    expected = measured(*smaller, "--data", tmp_path / "data", "--crops", 10)
    assert given.pop("classes") == str(photos / "three.txt")
    assert given.pop("of_other_classes") == 9
    assert given["images"] == expected["images"] == 9
    assert [entry["class"] for entry in given["per_class"]] == [IDS[n] for n in SUBSET]
    assert given["loss"] == pytest.approx(expected["loss"], abs=1e-5)
    for key in ("top1", "top5", "confusion"):
        assert given[key] == expected[key]
    whole = measured(*files, *flags)
    assert (whole["images"], len(whole["per_class"])) == (18, 6)
    assert not whole.keys() & {"classes", "of_other_classes"}


def test_every_output_names_the_list(photos: Path, weights: Path, tmp_path: Path) -> None:
    listed = photos / "three.txt"
    files = {f"--{name}": tmp_path / f"{name}.csv" for name in ("predictions", "confusion")}
    flags = [part for pair in files.items() for part in pair]
    flags += ["--data", photos / "data", "--classes", listed, "--report", tmp_path / "page.html"]
    done = inceptcli("eval", weights, *flags)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"9 images, 9 of other classes, classes {listed}: top-1 ")
    said = f"9 of 18 images are of other classes than {listed} lists, and are left out"
    assert said in done.stderr
    for file in files.values():
        with file.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert rows
        assert all(row["classes"] == str(listed) for row in rows)
        assert {row["predicted"] for row in rows} <= {IDS[n] for n in SUBSET}
    page = (tmp_path / "page.html").read_text()
    assert f"<dt>classes</dt><dd>{listed}</dd>" in page
    assert "9 of other classes" in page
    written = tmp_path / "measures.json"
    given = measured(weights, "--data", photos / "data", "--classes", listed)
    written.write_text(json.dumps(given))
    small = read_metadata(cut_down(weights, tmp_path / "small"))
    assert "9 images of other classes, classes " in measures_in(written, small).what


def test_all_forms_of_data_and_of_the_list_agree(
    photos: Path, weights: Path, tmp_path: Path
) -> None:
    expected = measured(weights, "--data", photos / "data", "--classes", photos / "three.txt")
    names = [entry.name for entry in read_metadata(weights).classes]
    (tmp_path / "numbers.txt").write_text("1\n2\n4\n")
    (tmp_path / "names.txt").write_text("\n".join(names[n] for n in SUBSET))
    shard(photos / "data", tmp_path / "shards")
    rows = [f"{path},{path.parent.name}" for path in sorted((photos / "data").rglob("*.png"))]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]))
    for data, listed in (
        (photos / "data", tmp_path / "numbers.txt"),
        (photos / "data", tmp_path / "names.txt"),
        (tmp_path / "shards", photos / "three.txt"),
        (tmp_path / "list.csv", photos / "three.txt"),
    ):
        found = measured(weights, "--data", data, "--classes", listed, "--allow-outside")
        for key in ("images", "top1", "loss", "of_other_classes", "confusion"):
            assert found[key] == expected[key], (data, listed, key)
    result = python.evaluate(weights, photos / "data", classes=photos / "three.txt", device="cpu")
    assert result.loss == expected["loss"]
    assert [entry.name.id for entry in result.per_class] == [IDS[n] for n in SUBSET]


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        ("n1\nn9\n", 1, "x.txt line 2: class n9 is not a class of the weights"),
        ("n1\nn2\n\nn1\n", 1, "x.txt line 4: class n1 is already in line 1"),
        ("n1\ncircle\n6\n", 1, "x.txt line 3: class 6 is not a class of the weights; they are"),
        ("n1\n", 1, "x.txt: at least two classes are needed, got 1; give one class id per line"),
        ("", 1, "x.txt: at least two classes are needed, got 0"),
        ("\0", 2, "--classes "),
        (None, 2, "x.txt: No such file or directory"),
    ],
)
def test_wrong_lists_are_named_by_line(
    content: str | None, code: int, said: str, photos: Path, weights: Path, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "x.txt").write_text(content)
    flags = ("--data", photos / "data", "--classes", tmp_path / "x.txt")
    check_one_line(inceptcli("eval", weights, *flags), code, said)


def test_nothing_to_measure_and_a_list_as_output_are_refused(
    photos: Path, weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_text(f"path,label\n{photos}/data/n0/0.png,n0\n")
    listed = ("--data", tmp_path / "list.csv", "--allow-outside")
    flags: tuple[object, ...] = (*listed, "--classes", photos / "three.txt")
    check_one_line(inceptcli("eval", weights, *flags), 1, "there is nothing to measure")
    (tmp_path / "classes.csv").write_text("n1\nn2\n")
    flags = ("--data", photos / "data", "--classes", tmp_path / "classes.csv")
    done = inceptcli("eval", weights, *flags, "--predictions", tmp_path / "classes.csv")
    check_one_line(done, 2, "is also the input")
    link = tmp_path / "page.html"
    link.hardlink_to(photos / "data/n1/1.png")
    flags = ("--data", photos / "data", "--classes", photos / "three.txt")
    done = inceptcli("eval", weights, *flags, "--report", link)
    check_one_line(done, 2, "is also the input")
