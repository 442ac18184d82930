"""`eval RUN` measures what the run validated on, and says where it measures training images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli.conftest import TINY, check_one_line, inceptcli, picture

pytestmark = pytest.mark.train

NAMES = ("ant", "bee")


def fill(root: Path, count: int, first: int = 0) -> Path:
    for number in range(count):
        picture(root / NAMES[number % 2] / f"{number}.png", first + number)
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data in three forms and a run on each, with paths relative to this folder."""
    root = tmp_path_factory.mktemp("made")
    fill(root / "plain", 20)
    for number, split in enumerate(("train", "valid", "test")):
        fill(root / "splits" / split, 8 - 2 * number, 100 * (number + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for name, data in (
            ("plain", ["--data", "plain", "--val-fraction", "0.3"]),
            ("splits", ["--data", "splits"]),
            ("two", ["--data", "splits/train", "--val-data", "splits/test"]),
            ("shapes", []),
        ):
            done = inceptcli("train", *TINY, *data, "--quiet", "--output", f"runs/{name}")
            assert done.exit_code == 0, done.output
    return root


@pytest.fixture
def here(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    return made


def listing(file: Path, count: int) -> Path:
    """A CSV file of the first images that `fill` drew in its folder."""
    rows = [f"{NAMES[number % 2]}/{number}.png,{NAMES[number % 2]}" for number in range(count)]
    file.write_text("\n".join(["path,label", *rows]) + "\n")
    return file


def trained_on(data: Path, *flags: object) -> None:
    done = inceptcli("train", *TINY, "--data", data, *flags, "--output", "run")
    assert done.exit_code == 0, done.output


def measured(*arguments: object) -> tuple[dict[str, Any], str]:
    done = inceptcli("eval", *arguments, "--format", "json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout), done.stderr


def names(result: Path) -> set[str]:
    return {line.split(",")[0] for line in result.read_text().splitlines()[1:]}


@pytest.mark.parametrize(
    ("arguments", "images", "split", "said"),
    [
        (["splits"], 6, "val", ""),
        (["splits", "--split", "test"], 4, "test", ""),
        (["splits", "--split", "train"], 8, "train", "was trained on 8 of these 8 images"),
        (["splits", "--data", "splits"], 6, "val", ""),
        (["splits", "--data", "splits/test"], 4, "test", ""),
        (["splits", "--data", "splits/train"], 8, "train", "was trained on 8 of these 8 images"),
        (["two"], 4, "val", ""),
        (["two", "--split", "train"], 8, "train", "was trained on 8 of these 8 images"),
        (["two", "--data", "splits"], 6, "val", ""),
        (["shapes"], 10, "val", ""),
        (["shapes", "--split", "train"], 12, "train", "was trained on these 12 images"),
        (["splits", "runs/two"], 6, "val", ""),
        (["plain", "--split", "all", "--data", "plain"], 20, "all", "was trained on all but a"),
        (["plain", "--split", "all", "--data", "splits/test"], 4, "all", ""),
        (["plain", "--data", "splits/test"], 4, "test", ""),
        (["splits", "--data", "plain"], 20, "all", ""),
        (["splits", "--split", "train", "--against", "runs/two"], 8, "train", "runs/two/model"),
    ],
)
def test_what_is_measured_and_what_is_said_of_it(
    here: Path, arguments: list[str], images: int, split: str, said: str
) -> None:
    result, notices = measured(f"runs/{arguments[0]}", *arguments[1:], "--quiet")
    assert (result["images"], result["split"]) == (images, split)
    assert (said in notices) if said else not notices


def test_a_fraction_gives_the_runs_own_images_wherever_they_lie(here: Path, tmp_path: Path) -> None:
    own, _ = measured("runs/plain", "--predictions", tmp_path / "own.csv")
    assert own["split"] == "val"
    assert 2 <= own["images"] <= 14
    rest, said = measured("runs/plain", "--split", "train", "--predictions", tmp_path / "rest.csv")
    assert rest["images"] == 20 - own["images"]
    assert f"was trained on {rest['images']} of these {rest['images']} images" in said
    assert not names(tmp_path / "own.csv") & names(tmp_path / "rest.csv")
    moved = tmp_path / "moved"
    for name in names(tmp_path / "own.csv") | names(tmp_path / "rest.csv"):
        copy = moved / Path(name).relative_to("plain")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(Path(name).read_bytes())
    again, said = measured("runs/plain", "--data", moved)
    assert {key: again[key] for key in ("images", "split", "loss")} == {
        key: own[key] for key in ("images", "split", "loss")
    }
    assert f"{own['images']} of 20 images, the run's validation images" in said


def test_a_fraction_does_not_split_data_that_is_not_the_runs(here: Path, tmp_path: Path) -> None:
    for number in range(20):
        path = tmp_path / "new" / NAMES[number % 2] / f"new-{number}.png"
        picture(path, 50 + number)
        with Image.open(path) as image:  # of the same size, noise of 80x90 pixels has
            image.resize((70, 60)).save(path)
    found, said = measured("runs/plain", "--data", tmp_path / "new", "--quiet")
    assert (found["images"], found["split"], said) == (20, "all", "")


def test_validation_images_of_a_list_beside_the_training_images_were_not_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = fill(Path("data"), 20)
    trained_on(data, "--val-data", listing(data / "val.csv", 6))
    found, said = measured("run", "--quiet")
    assert (found["images"], said) == (6, "")
    _, said = measured("run", "--data", data, "--quiet")
    assert "was trained on 14 of these 20 images" in said


def test_a_list_that_has_moved_is_known_and_so_are_training_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = fill(Path("data"), 20)
    trained_on(listing(data / "labels.csv", 20), "--val-fraction", "0.3")
    own, _ = measured("run")
    data.rename("moved")
    found, said = measured("run", "--data", "moved/labels.csv")
    assert (found["images"], found["split"], found["loss"]) == (own["images"], "val", own["loss"])
    assert "was trained" not in said
    found, said = measured("run", "--data", "moved/labels.csv", "--split", "all")
    assert (found["images"], found["split"]) == (20, "all")
    assert f"was trained on {20 - own['images']} of these 20 images" in said
    found, said = measured("run", "--data", listing(Path("moved/few.csv"), 8))
    assert (found["images"], found["split"]) == (8, "all")
    assert "was trained on" in said


@pytest.mark.parametrize("name", ["val", "test"])
def test_a_fraction_of_a_folder_that_is_named_as_a_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    data = fill(Path("pets", name), 16)
    flags = ["--data", data, "--val-fraction", "0.25", "--output", "run"]
    done = inceptcli("train", *TINY, *flags)
    assert done.exit_code == 0, done.output
    own, said = measured("run")
    assert own["split"] == "val"
    assert f"{16 - own['images']} training and {own['images']} validation images" in done.stderr
    assert "was trained on" not in said
    assert measured("run", "--data", data)[0] == own
    whole, said = measured("run", "--data", data, "--split", "all")
    assert whole["images"] == 16
    assert f"which has {whole['images']} of the 16 images; `inceptcli eval run/" in said
    Path("link/testing").parent.mkdir()
    Path("link/testing" if name == "val" else "link/val").symlink_to(data.resolve())
    linked, said = measured("run", "--data", next(Path("link").iterdir()))
    assert linked["images"] == 16
    assert "was trained on all but a fraction 0.25" in said


def test_validation_images_inside_the_data_are_no_training_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fill(fill(Path("pets"), 12) / "heldout", 4, 100)
    flags = ["--data", "pets", "--val-data", "pets/heldout", "--output", "run"]
    done = inceptcli("train", *TINY, *flags)
    assert "2 classes, 12 training and 4 validation images" in done.stderr
    own, said = measured("run", "--quiet")
    assert (own["images"], said) == (4, "")
    rest, said = measured("run", "--split", "all")
    assert rest["images"] == 12
    assert "was trained on 12 of these 12 images" in said


def test_data_that_is_not_here_is_one_line_with_the_remedy(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = inceptcli("eval", here / "runs/splits")
    check_one_line(
        done, 2, f"trained on splits, which is not in {tmp_path}; give its present path as --data"
    )
    done = inceptcli("eval", here / "runs/two")
    check_one_line(done, 2, "validated on splits/test, which is not in")
    result, _ = measured(here / "runs/splits", "--data", here / "splits")
    assert result["images"] == 6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["runs/splits", "--split", "all"], "--split all: splits has train and val and test"),
        (["runs/plain", "--split", "test"], "--split test: plain has no splits; give --split all"),
        (["runs/shapes", "--split", "test"], "has no test images of `shapes`; give --data"),
        (["runs/splits", "--data", "list.csv", "--split", "val"], "list.csv is a list of all"),
    ],
)
def test_a_split_that_is_not_there_is_named(here: Path, arguments: list[str], said: str) -> None:
    Path("list.csv").write_text("path,label\nsplits/test/ant/0.png,ant\n")
    check_one_line(inceptcli("eval", *arguments), 2, said)


def test_the_table_and_the_page_name_the_split(here: Path, tmp_path: Path) -> None:
    done = inceptcli("eval", "runs/splits", "--report", tmp_path / "page.html")
    assert done.stdout.startswith("6 images, split val: top-1 ")
    assert "<dt>Split</dt><dd>val</dd>" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    "make",
    [
        lambda root: ["--data", root, "--val-data", root, "--val-fraction", "0.1"],
        lambda root: ["--val-fraction", "0.1"],
        lambda root: ["--val-data", root],
    ],
)
def test_a_flag_that_would_be_ignored_is_an_error(
    here: Path, make: Callable[[str], list[str]], tmp_path: Path
) -> None:
    done = inceptcli("train", *TINY, *make("plain"), "--output", tmp_path / "run")
    check_one_line(done, 2, "--val-")
    assert not (tmp_path / "run").exists()


def test_a_long_tail_trains_and_a_run_in_its_folder_is_no_class(tmp_path: Path) -> None:
    data = tmp_path / "tail"
    for number in range(18):
        picture(data / f"class-{number // 4}" / f"{number}.png", number)
    picture(data / "lonely/1.png", 100)
    flags = ["--data", data, "--val-fraction", "0.1"]
    for name in ("a", "b"):
        done = inceptcli("train", *TINY, *flags, "--output", data / "runs" / name)
        assert done.exit_code == 0, done.output
        assert "6 classes, 14 training and 5 validation images" in done.stderr
        assert "1 of 6 classes have a single image, or only such images of" in done.stderr
    assert f"left out {data}/runs/a: written by inceptcli, not a class" in done.stderr
