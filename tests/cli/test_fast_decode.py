"""--fast-decode reaches the decoder of `predict` and `eval`, and every result says so."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyarrow.parquet import read_table

from inceptcli.data.pixels.decode import decode
from inceptcli.prediction.ensemble import EnsembleRequest
from tests.cli.conftest import check_one_line, inceptcli
from tests.cli.test_predict import invoke, probabilities, rows_of
from tests.data.class_folders import pack, shard
from tests.prediction.conftest import IDS

JSON_LINES = ("--format", "jsonl", "--top-k", 6)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two noisy JPEGs of 640x480 pixels in class folders, and a file that is none."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(2):
        noise = np.random.default_rng(number).integers(0, 256, (480, 640, 3)).astype(np.uint8)
        folder = root / IDS[number]
        folder.mkdir()
        Image.fromarray(noise).save(folder / f"{number}.jpg", quality=95)
    (root / IDS[1] / "text.jpg").write_text("no image")
    return root


@pytest.fixture(scope="module")
def expected(photos: Path, weights: Path) -> dict[tuple[str, int], float]:
    """What the network, which needs 85 pixels, makes of pictures decoded at a quarter."""
    ensemble = EnsembleRequest((str(weights),), device="cpu").find().load()
    paths = [photos / IDS[number] / f"{number}.jpg" for number in range(2)]
    smaller = [decode(path, 85) for path in paths]
    assert [picture.shape for picture in smaller] == [(120, 160, 3)] * 2
    found = ensemble.probabilities([ensemble.cut(picture) for picture in smaller])
    return {
        (str(path), index): probability
        for path, row in zip(paths, found.tolist(), strict=True)
        for index, probability in enumerate(row)
    }


def test_predict_decodes_no_more_than_the_networks_need(
    photos: Path, weights: Path, expected: dict[tuple[str, int], float]
) -> None:
    flags = ("--weights", weights, *JSON_LINES)
    fast = rows_of(invoke(photos, *flags, "--fast-decode")[1])
    assert probabilities(fast) == pytest.approx(expected, abs=1e-6)
    assert [list(row) for row in fast] == [["path", "predictions", "error", "fast_decode"]] * 3
    assert {row["fast_decode"] for row in fast} == {True}
    assert [row["error"] is None for row in fast] == [True, True, False]
    plain = rows_of(invoke(photos, *flags)[1])
    assert [list(row) for row in plain] == [["path", "predictions", "error"]] * 3
    assert fast[2]["error"] == plain[2]["error"]
    apart = [abs(value - expected[key]) for key, value in probabilities(plain).items()]
    assert max(apart) > 1e-4


def test_pictures_in_a_tar_are_decoded_so_too(
    photos: Path, weights: Path, expected: dict[tuple[str, int], float], tmp_path: Path
) -> None:
    paths = sorted(photos.rglob("[01].jpg"))
    tar = pack(tmp_path / "0.tar", [(path.name, path.read_bytes()) for path in paths])
    rows = rows_of(invoke(tar, "--weights", weights, *JSON_LINES, "--fast-decode")[1])
    found = probabilities(rows)
    assert found == pytest.approx(
        {(f"{tar}/{Path(path).name}", index): p for (path, index), p in expected.items()},
        abs=1e-6,
    )


def test_every_format_says_so(photos: Path, weights: Path, tmp_path: Path) -> None:
    def output(name: str, *flags: str) -> str:
        done = invoke(photos, "--weights", weights, "--top-k", 1, "--format", name, *flags)
        assert done[0] == 1
        return done[1]

    first, *rest = output("table", "--fast-decode").splitlines()
    assert first == "fast_decode: true"
    assert len(rest) == len(output("table").splitlines())
    assert [row["fast_decode"] for row in json.loads(output("json", "--fast-decode"))] == [True] * 3
    header, *lines = output("csv", "--fast-decode").splitlines()
    assert header == "path,rank,class,index,probability,error,fast_decode"
    assert all(line.endswith(",true") for line in lines)
    assert output("csv").splitlines()[0] == "path,rank,class,index,probability,error"
    for flags in ((), ("--fast-decode",)):
        file = tmp_path / "answers.parquet"
        invoke(photos, "--weights", weights, "--output", file, *flags)
        table = read_table(file)
        assert table.column_names[3:] == ["fast_decode"] * len(flags)
        assert not flags or table["fast_decode"].to_pylist() == [True] * 3


@pytest.mark.parametrize("flags", [(), ("--fast-decode",)])
def test_embeddings_say_so(
    flags: Sequence[str], photos: Path, weights: Path, tmp_path: Path
) -> None:
    for suffix in ("npy", "parquet"):
        invoke(photos, "--weights", weights, "--embeddings", tmp_path / f"e.{suffix}", *flags)
    header, *rows = (tmp_path / "e.npy.csv").read_text().splitlines()
    table = read_table(tmp_path / "e.parquet")
    assert len(rows) == len(table) == 2
    assert table.column_names == ["path", "embedding", *["fast_decode"] * len(flags)]
    assert header.split(",") == ["row", "path", *["fast_decode"] * len(flags)]
    assert all(row.endswith(",true") is bool(flags) for row in rows)
    assert not flags or table["fast_decode"].to_pylist() == [True] * 2


@pytest.mark.parametrize("flags", [(), ("--fast-decode",)])
def test_the_gallery_says_so(
    flags: Sequence[str], photos: Path, weights: Path, tmp_path: Path
) -> None:
    invoke(photos, "--weights", weights, "--gallery", tmp_path / "page.html", *flags)
    page = (tmp_path / "page.html").read_text()
    assert ("<dt>fast_decode</dt><dd>true</dd>" in page) is bool(flags)


def test_pixels_of_the_image_are_not_explained_from_a_smaller_one(
    photos: Path, weights: Path, tmp_path: Path
) -> None:
    flags = ("--weights", weights, "--explain", tmp_path / "maps", "--fast-decode")
    check_one_line(inceptcli("predict", photos, *flags), 2, "omit --fast-decode")
    assert not (tmp_path / "maps").exists()


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("part", ["jsonl", "parquet"])
def test_parts_and_what_they_merge_to_say_so(
    suffix: str, part: str, photos: Path, weights: Path, tmp_path: Path
) -> None:
    flags = ("--weights", weights, "--fast-decode")
    for number in range(2):
        place = ("--shard", f"{number}/2", "--output", tmp_path / "parts", "--format", part)
        invoke(photos, *flags, *place)
    record = json.loads((tmp_path / "parts/part-00000-of-00002/_part.json").read_text())
    assert record["recorded"]["fast_decode"] is True
    rows = tmp_path / f"parts/part-00000-of-00002/rows-000000000-000000001.{part}"
    found = read_table(rows).to_pylist() if part == "parquet" else rows_of(rows.read_text())
    assert [row["fast_decode"] for row in found] == [True] * 2
    whole, merged = tmp_path / f"whole.{suffix}", tmp_path / f"merged.{suffix}"
    invoke(photos, *flags, "--output", whole)
    assert inceptcli("merge", tmp_path / "parts", "--output", merged).exit_code == 0
    if suffix == "parquet":
        assert read_table(merged).equals(read_table(whole))
    else:
        assert merged.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("begun_with", [(), ("--fast-decode",)])
def test_a_part_goes_on_only_as_it_was_begun(
    begun_with: Sequence[str], photos: Path, weights: Path, tmp_path: Path
) -> None:
    def in_shard(number: int, *flags: str) -> Any:
        place = ("--shard", f"{number}/2", "--output", tmp_path / "parts")
        return inceptcli("predict", photos, "--weights", weights, *place, *flags)

    other = () if begun_with else ("--fast-decode",)
    assert in_shard(0, *begun_with).exit_code == 1  # the file of text
    record = json.loads((tmp_path / "parts/part-00000-of-00002/_part.json").read_text())
    assert record["recorded"]["fast_decode"] is bool(begun_with)
    was, now = ("on", "off") if begun_with else ("off", "on")
    said = f"was started with --fast-decode {was}, not {now}; give another --output"
    check_one_line(in_shard(0, *other), 2, said)
    in_shard(1, *other)
    done = inceptcli("merge", tmp_path / "parts")
    check_one_line(done, 2, f"of different jobs: --fast-decode {was}, not {now}")


def test_eval_decodes_so_and_says_so(
    photos: Path, weights: Path, expected: dict[tuple[str, int], float], tmp_path: Path
) -> None:
    def evaluated(*flags: object) -> str:
        done = inceptcli(
            "eval", weights, "--data", photos, "--skip-unreadable", "--device", "cpu", *flags
        )
        assert done.exit_code == 0, done.output
        return done.stdout

    files = {flag: tmp_path / f"{flag}.csv" for flag in ("--predictions", "--confusion")}
    outputs = (*chain(*files.items()), "--report", tmp_path / "page.html")
    fast = json.loads(evaluated("--format", "json", "--fast-decode", *outputs))
    for file in files.values():
        with file.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert rows
        assert all(row["fast_decode"] == "true" for row in rows)
    plain = json.loads(evaluated("--format", "json", "--report", tmp_path / "plain.html"))
    assert fast["fast_decode"] is True
    assert list(plain) == [key for key in fast if key != "fast_decode"]
    own = [expected[str(photos / IDS[n] / f"{n}.jpg"), n] for n in range(2)]
    assert fast["loss"] == pytest.approx(-np.log(own).mean(), abs=1e-5)
    assert abs(fast["loss"] - plain["loss"]) > 1e-4
    said = "<dt>fast_decode</dt><dd>true</dd>"
    assert said in (tmp_path / "page.html").read_text()
    assert said not in (tmp_path / "plain.html").read_text()
    shutil.copytree(photos, tmp_path / "sound", ignore=lambda *_: {"text.jpg"})
    shard(tmp_path / "sound", tmp_path / "tar")
    flags = ("--data", tmp_path / "tar", "--format", "json", "--fast-decode")
    assert json.loads(evaluated(*flags))["loss"] == pytest.approx(fast["loss"], abs=1e-6)
    assert evaluated("--fast-decode").startswith("2 images, fast_decode: top-1 ")
    assert evaluated().startswith("2 images: top-1 ")
