from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inceptcli.prediction.ensemble import DAMAGED
from inceptcli.prediction.outputs.explanations import COLUMNS, TABLE_NAME, overlay_name
from inceptcli.weights.file import load_tensors, read_metadata, save
from tests.cli.conftest import inceptcli
from tests.prediction.conftest import CLASSES, draw


def predict(weights: Path, *arguments: object) -> list[list[str]]:
    """The rows of CSV answers; the program must end with 0."""
    done = inceptcli(
        "predict", *arguments, "--weights", weights, "--device", "cpu", "--format", "csv"
    )
    said = [line for line in done.stderr.splitlines() if not line.startswith("wrote ")]
    assert (done.exit_code, said) == (0, [])
    return list(csv.reader(done.stdout.splitlines()))[1:]


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / TABLE_NAME).open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        assert tuple(rows.fieldnames or ()) == COLUMNS
        return list(rows)


def test_each_image_has_an_overlay_and_a_row_that_says_where(
    folder: Path, weights: Path, tmp_path: Path
) -> None:
    maps = tmp_path / "new" / "maps"
    answers = predict(weights, folder, "--explain", maps, "--top-k", 1)
    rows = table(maps)
    assert [row["path"] for row in rows] == [str(folder / f"{number}.png") for number in range(3)]
    assert [[row["path"], "1", row["class"], row["index"], row["probability"], row["error"]]
            for row in rows] == answers  # fmt: skip
    names = [row["overlay"] for row in rows]
    assert names == ["000001-0.jpg", "000002-1.jpg", "000003-2.jpg"]
    assert sorted(path.name for path in maps.iterdir()) == [*names, TABLE_NAME]
    for name in names:
        with Image.open(maps / name) as overlay:
            assert overlay.size == (300, 300)
    located = [row for row in rows if row["left"]]  # for some answers of chance nothing speaks
    assert located
    for row in located:
        left, top, right, bottom = (int(row[side]) for side in ("left", "top", "right", "bottom"))
        # The network sees the central 132 of 150 pixels.
        assert 33 <= left < right <= 167
        assert 8 <= top < bottom <= 142
        assert 33 <= float(row["center_x"]) <= 167
        assert 8 <= float(row["center_y"]) <= 142


def test_overlays_in_a_folder_of_images_are_no_images(weights: Path, tmp_path: Path) -> None:
    for number in range(70):
        draw(tmp_path / "a" / f"{number}.png", number)
    draw(tmp_path / "b" / "last.png", 70)
    maps = tmp_path / "b" / "maps"
    answers = predict(
        weights, tmp_path / "a", tmp_path / "b", "--explain", maps, "--top-k", 1, "--batch-size", 1
    )
    assert len(answers) == len(table(maps)) == 71
    assert answers[-1][0] == str(tmp_path / "b/last.png")


def test_the_table_records_options_that_change_probabilities(
    folder: Path, weights: Path, tmp_path: Path
) -> None:
    flags = ("--image-size", "80x120", "--explain", tmp_path / "maps")
    done = inceptcli("predict", folder, "--weights", weights, *flags, "--format", "csv")
    assert done.exit_code == 0, done.output
    with (tmp_path / "maps" / TABLE_NAME).open(newline="") as file:
        rows = list(csv.DictReader(file))
    answers = list(csv.DictReader(done.stdout.splitlines()))
    assert {row["image_size"] for row in rows} == {answers[0]["image_size"]}
    assert rows[0]["probability"] == answers[0]["probability"]


def test_what_is_not_found_in_the_folder_of_overlays_has_a_row(
    folder: Path, weights: Path, tmp_path: Path
) -> None:
    maps, missing = tmp_path / "maps", tmp_path / "maps" / "typo.jpg"
    maps.mkdir()
    done = inceptcli(
        "predict", f"{maps}/", missing, folder, "--explain", maps, "--weights", weights,
        "--format", "csv", "--top-k", "1",
    )  # fmt: skip
    assert done.exit_code == 1
    errors = {row[0]: row[-1] for row in csv.reader(done.stdout.splitlines())}
    assert "no images in this folder" in errors[f"{maps}/"]
    assert "No such file" in errors[str(missing)]
    assert len(errors) == 1 + 2 + 3


@pytest.mark.parametrize("given", ["ring", "n5", "5"])
def test_any_class_is_explained_by_name_id_or_index(
    given: str, folder: Path, weights: Path, tmp_path: Path
) -> None:
    answers = predict(weights, folder, "--explain", tmp_path / "maps", "--class", given)
    predict(weights, folder, "--explain", tmp_path / "top")
    rows = table(tmp_path / "maps")
    assert {(row["class"], row["index"]) for row in rows} == {("ring", "5")}
    probability_of = {(row[0], row[3]): row[4] for row in answers}
    for row in rows:
        if (row["path"], "5") in probability_of:  # it is one of the five
            assert row["probability"] == probability_of[row["path"], "5"]
    assert any(
        (tmp_path / "maps" / row["overlay"]).read_bytes()
        != (tmp_path / "top" / row["overlay"]).read_bytes()
        for row in rows
    )


def test_what_cannot_be_read_has_a_row_and_no_picture_and_the_rest_is_done(
    folder: Path, weights: Path, tmp_path: Path
) -> None:
    (folder / "1.png").write_text("no image")
    flags = ("--explain", tmp_path / "maps", "--embeddings", tmp_path / "rows.npy")
    done = inceptcli("predict", folder, "--weights", weights, "--device", "cpu", *flags)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"Error: {folder / '1.png'}: not an image")
    first, broken, last = table(tmp_path / "maps")
    assert "not an image" in broken["error"]
    assert {value for key, value in broken.items() if key not in ("path", "error")} == {""}
    assert [first["error"], last["error"]] == ["", ""]
    assert last["overlay"] == "000003-2.jpg"
    assert len(list((tmp_path / "maps").glob("*.jpg"))) == 2
    assert np.load(tmp_path / "rows.npy").shape == (2, 1792)
    with (tmp_path / "rows.npy.csv").open() as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    assert paths == [str(folder / "0.png"), str(folder / "2.png")]


def test_of_damaged_weights_nothing_is_drawn_and_no_row_is_kept(
    folder: Path, weights: Path, tmp_path: Path
) -> None:
    tensors = load_tensors(weights)
    tensors["classifier.bias"][0] = float("nan")
    damaged = tmp_path / "damaged.safetensors"
    save(damaged, tensors, read_metadata(weights))
    flags = ("--explain", tmp_path / "maps", "--embeddings", tmp_path / "rows.npy")
    done = inceptcli("predict", folder, "--weights", damaged, "--device", "cpu", *flags)
    assert done.exit_code == 1
    rows = table(tmp_path / "maps")
    assert [row["error"] for row in rows] == [DAMAGED] * 3
    assert [path.name for path in (tmp_path / "maps").iterdir()] == [TABLE_NAME]
    assert np.load(tmp_path / "rows.npy").shape == (0, 1792)


@pytest.mark.parametrize("file", ["rows.npy", "rows.parquet"])
def test_answers_are_the_same_with_embeddings_and_heat_maps(
    file: str, folder: Path, weights: Path, tmp_path: Path
) -> None:
    plain = predict(weights, folder)
    assert predict(weights, folder, "--embeddings", tmp_path / file) == plain
    assert (tmp_path / file).is_file()
    explained = predict(weights, folder, "--explain", tmp_path / "maps")  # by torch
    for found, expected in zip(explained, plain, strict=True):
        assert float(found.pop(4)) == pytest.approx(float(expected.pop(4)), abs=1e-5)
        assert found == expected


def test_hostile_and_equal_names_stay_in_the_folder_and_apart(
    weights: Path, tmp_path: Path
) -> None:
    names = ["a/=x.png", "b/=x.png", "<img src=x>.png", "-rf.png", "..png", "käse\n.png", "CON.png"]
    paths = [draw(tmp_path / "in" / name, number) for number, name in enumerate(names)]
    listed = tmp_path / "listed"
    done = inceptcli(
        "predict", *paths, "--weights", weights, "--device", "cpu", "--explain", listed
    )
    assert done.exit_code == 0, done.stderr
    shown = [row["overlay"] for row in table(listed)]
    assert shown == [
        "000001-_x.jpg", "000002-_x.jpg", "000003-_img_src_x_.jpg", "000004--rf.jpg",
        "000005-..jpg", "000006-käse_.jpg", "000007-CON.jpg",
    ]  # fmt: skip
    assert sorted(path.name for path in listed.iterdir()) == [*shown, TABLE_NAME]


def test_a_name_is_one_that_every_file_system_takes() -> None:
    name = overlay_name(1, "../" + "\udce4" + "漢" * 300 + "/" + "漢" * 300 + ".png")
    assert len(name.encode()) <= 255
    assert name == "000001-" + "漢" * 40 + ".jpg"
    assert overlay_name(12, "/") == "000012-.jpg"


def test_a_table_cell_is_no_formula(weights: Path, tmp_path: Path) -> None:
    draw(tmp_path / "x.png", 0)
    predict(weights, tmp_path / "x.png", "--explain", tmp_path / "maps", "--class", "=square")
    (row,) = table(tmp_path / "maps")
    assert row["class"] == "'=square"
    assert CLASSES[int(row["index"])] == "=square"
