"""Shards that are killed at random moments lose and double no row; the large run is chaos.py's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.prediction.chaos import Outcome, compare, difference


@pytest.mark.system
def test_shards_killed_at_random_moments_merge_to_an_undisturbed_run(tmp_path: Path) -> None:
    outcome = compare(tmp_path, 600, 2, 3, seed=2, output_format="parquet", delay=0.05)
    # One that ended just before it was hit counts as none.
    assert outcome == Outcome(600, 600, outcome.kills, same_classes=True, difference=0.0)
    assert outcome.kills >= 2


def lines(path: Path, *rows: tuple[str, int, float]) -> Path:
    path.write_text(
        "".join(
            json.dumps({
                "path": name, "error": None,
                "predictions": [{"class": "a", "index": index, "probability": probability}],
            }) + "\n"
            for name, index, probability in rows
        )
    )  # fmt: skip
    return path


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("a", 0, 0.5), ("b", 1, 0.5)], Outcome(2, 2, 1, True, 0.0)),
        ([("a", 0, 0.5)], Outcome(1, 1, 1, False, 0.0)),
        ([("a", 0, 0.5), ("a", 0, 0.5)], Outcome(2, 1, 1, False, 0.0)),
        ([("a", 0, 0.5), ("b", 1, 0.5), ("b", 1, 0.5)], Outcome(3, 2, 1, False, 0.0)),
        ([("a", 0, 0.5), ("b", 0, 0.5)], Outcome(2, 2, 1, False, 0.0)),
        ([("a", 0, 0.75), ("b", 1, 0.5)], Outcome(2, 2, 1, True, 0.25)),
    ],
)
def test_a_lost_a_doubled_and_a_changed_row_would_be_seen(
    rows: list[tuple[str, int, float]], expected: Outcome, tmp_path: Path
) -> None:
    alone = lines(tmp_path / "alone.jsonl", ("a", 0, 0.5), ("b", 1, 0.5))
    assert difference(alone, lines(tmp_path / "merged.jsonl", *rows), 1) == expected
