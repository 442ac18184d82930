"""A file holds what its suffix says, or is refused before any work is done."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest

from tests.cli.conftest import check_one_line, inceptcli


def predict(folder: Path, weights: Path, *arguments: object) -> None:
    done = inceptcli("predict", folder, "--weights", weights, *arguments)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".jsonl.gz", ".NDJSON.GZ"])
def test_json_lines_by_suffix(folder: Path, weights: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"answers{suffix}"
    predict(folder, weights, "--output", output)
    content = output.read_bytes()
    text = gzip.decompress(content) if suffix.lower().endswith(".gz") else content
    assert [Path(json.loads(line)["path"]).name for line in text.splitlines()] == [
        "0.png", "1.png", "2.png"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("suffix", "separator"),
    [(".csv", ","), (".csv.gz", ","), (".tsv", "\t"), (".tsv.gz", "\t")],
)
def test_tables_by_suffix(
    folder: Path, weights: Path, tmp_path: Path, suffix: str, separator: str
) -> None:
    output = tmp_path / f"answers{suffix}"
    predict(folder, weights, "--output", output, "--top-k", 1)
    content = output.read_bytes()
    text = (gzip.decompress(content) if suffix.endswith(".gz") else content).decode()
    rows = list(csv.DictReader(io.StringIO(text), delimiter=separator))
    assert [Path(row["path"]).name for row in rows] == ["0.png", "1.png", "2.png"]
    assert all(0 < float(row["probability"]) <= 1 for row in rows)


def test_pq_is_parquet_and_json_may_be_compressed(
    folder: Path, weights: Path, tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    predict(folder, weights, "--output", tmp_path / "a.pq")
    assert parquet.read_table(tmp_path / "a.pq").num_rows == 3
    predict(folder, weights, "--output", tmp_path / "a.json.gz")
    assert len(json.loads(gzip.decompress((tmp_path / "a.json.gz").read_bytes()))) == 3


def test_a_table_for_people_needs_txt_or_no_suffix(
    folder: Path, weights: Path, tmp_path: Path
) -> None:
    for name in ("answers.txt", "answers"):
        predict(folder, weights, "--output", tmp_path / name)
        assert "0.png\n  0." in (tmp_path / name).read_text()


@pytest.mark.parametrize(
    "name", ["a.xlsx", "a.feather", "a.xml", "a.parquet.gz", "a.csv.zip", "a.csv.bz2", "a.html"]
)
def test_other_suffixes_are_refused(folder: Path, weights: Path, tmp_path: Path, name: str) -> None:
    output = tmp_path / name
    for words in (
        ["predict", folder, "--weights", weights, "--output", output],
        ["merge", tmp_path, "--output", output],
    ):
        check_one_line(inceptcli(*words), 2, "; must end in .csv .json .jsonl")
        assert not output.exists()


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet", "a.jsonl.gz"])
def test_shards_are_written_to_a_folder(
    folder: Path, weights: Path, tmp_path: Path, name: str
) -> None:
    words = ("predict", folder, "--weights", weights, "--shard", "0/2")
    done = inceptcli(*words, "--output", tmp_path / name)
    check_one_line(done, 2, f"{name}: must be a folder with --shard; ")
    assert not (tmp_path / name).exists()


def test_merge_writes_what_the_suffix_says(folder: Path, weights: Path, tmp_path: Path) -> None:
    predict(folder, weights, "--shard", "0/1", "--output", tmp_path / "parts/")
    assert inceptcli("merge", tmp_path / "parts", "--output", tmp_path / "a.tsv").exit_code == 0
    assert (tmp_path / "a.tsv").read_text().startswith("path\trank\t")


def test_export_and_import_write_one_format_each(weights: Path, tmp_path: Path) -> None:
    for to, suffix in (("timm", ".safetensors"), ("onnx", ".onnx")):
        for name in ("a.pth", "a.bin", "a"):
            done = inceptcli("export", weights, "--to", to, "--output", tmp_path / name)
            check_one_line(done, 2, f"must end in {suffix} for --to {to}")
    done = inceptcli("import", weights, "--output", tmp_path / "a.pth")
    check_one_line(done, 2, "must end in .safetensors")
    assert not list(tmp_path.glob("a*"))


@pytest.mark.parametrize(
    ("flag", "suffix", "right"),
    [
        ("--predictions", ".parquet", ".csv or .csv.gz"),
        ("--confusion", ".json", ".csv or .csv.gz"),
        ("--report", ".pdf", ".html or .htm"),
    ],
)
def test_eval_writes_one_format_each(
    weights: Path, tmp_path: Path, flag: str, suffix: str, right: str
) -> None:
    done = inceptcli("eval", weights, "--data", tmp_path, flag, tmp_path / f"a{suffix}")
    check_one_line(done, 2, f"must end in {right}")


def test_a_gallery_is_html(folder: Path, weights: Path, tmp_path: Path) -> None:
    words = ("predict", folder, "--weights", weights)
    check_one_line(inceptcli(*words, "--gallery", tmp_path / "a.pdf"), 2, "must end in .html")
