"""`eval A --against B`, and the networks of an ensemble: the figures are those of separate runs."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import inceptcli as package
from inceptcli.evaluation.measures import Evaluation
from inceptcli.weights.file import copy_with_metadata, load_tensors, read_metadata, save
from tests.cli.conftest import check_one_line, inceptcli
from tests.evaluation.test_comparison import brute_force
from tests.prediction.conftest import IDS, draw, save_small_network


def changed(
    weights: Path, file: Path, seed: int, order: Sequence[int] = range(6), scale: float = 1
) -> Path:
    """The same network with noise on its classifier, and its classes in another order."""
    tensors, metadata = load_tensors(weights), read_metadata(weights)
    torch.manual_seed(seed)
    classifier = tensors["classifier.weight"]
    noise = torch.randn_like(classifier) * classifier.std() * (seed > 0) * scale
    mixed = {
        "classifier.weight": (classifier + noise)[[*order]],
        "classifier.bias": tensors["classifier.bias"][[*order]],
    }
    classes = tuple(metadata.classes[number] for number in order)
    save(file, tensors | mixed, replace(metadata, classes=classes))
    return file


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights a and b; d is b with its classes in another order; 36 pictures of six classes."""
    root = tmp_path_factory.mktemp("against")
    first = save_small_network(root / "a.safetensors")
    changed(first, root / "b.safetensors", 1)
    changed(root / "b.safetensors", root / "d.safetensors", 0, [2, 0, 1, 5, 4, 3])
    for number in range(36):
        draw(root / "data" / IDS[number % 6] / f"{number}.png", number)
    return root


@pytest.fixture(autouse=True)
def in_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)


@cache
def output(*arguments: str) -> str:
    """The output as JSON; the same command runs once."""
    done = inceptcli("eval", *arguments, "--data", "data", "--format", "json", "--quiet")
    assert done.exit_code == 0, done.output
    return done.stdout


def measured(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output(*arguments))
    return found


def alone(name: str, predictions: str | None = None) -> tuple[str, ...]:
    """Arguments that measure one network and write its predictions."""
    return (f"{name}.safetensors", "--predictions", f"{predictions or name}.csv")


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return [*csv.DictReader(stream)]


def test_a_comparison_is_that_of_two_evaluations() -> None:
    a, b = (measured(*alone(name)) for name in "ab")
    both = measured(*alone("a", "both"), "--against", "b.safetensors")
    found = both.pop("against")
    assert both == a
    assert "against" not in a
    assert found["weights"] == ["b.safetensors"]
    assert (found["top1"], found["loss"]) == (b["top1"], b["loss"])
    assert found["loss_difference"] == pytest.approx(a["loss"] - b["loss"])
    of_a, of_b, of_both = (rows(Path(f"{name}.csv")) for name in ("a", "b", "both"))
    flips = {"gained": 0, "lost": 0, "": 0}
    for row, own, other in zip(of_both, of_a, of_b, strict=True):
        assert {key: row[key] for key in own} == own
        for key in ("predicted", "predicted_name", "probability", "loss", "rank"):
            assert row[f"against_{key}"] == other[key]
        right, was_right = own["rank"] == "1", other["rank"] == "1"
        assert row["flip"] == ("" if right == was_right else "gained" if right else "lost")
        flips[row["flip"]] += 1
    assert (found["gained"], found["lost"]) == (flips["gained"], flips["lost"])
    assert found["gained"] > 0 < found["lost"]
    assert found["difference"] == pytest.approx((flips["gained"] - flips["lost"]) / 36)
    assert found["difference_interval"][0] < found["difference"] < found["difference_interval"][1]
    for count in ("gained", "lost"):
        assert sum(entry[count] for entry in found["per_class"]) == found[count]
    assert {entry["class"] for entry in found["per_class"]} <= {*IDS}


@pytest.mark.parametrize(("weights", "other"), [("a", "a"), ("b", "d")])
def test_a_network_is_no_better_than_itself_with_its_classes_in_any_order(
    weights: str, other: str
) -> None:
    found = measured(f"{weights}.safetensors", "--against", f"{other}.safetensors")["against"]
    assert (found["difference"], found["gained"], found["lost"]) == (0, 0, 0)
    assert (found["mcnemar_p"], found["difference_interval"]) == (1, [0, 0])
    assert found["loss_difference"] == pytest.approx(0, abs=1e-12 * (weights != other))
    assert found["loss_difference_interval"] == pytest.approx([0, 0], abs=1e-12)
    assert found["per_class"] == []


def test_members_and_their_gains_are_those_of_separate_evaluations() -> None:
    pair = measured("a.safetensors", "b.safetensors", "--against", "b.safetensors")
    a, b = (measured(*alone(name)) for name in "ab")
    for name, member, own, other in zip("ab", pair["members"], (a, b), (b, a), strict=True):
        assert member == {
            "weights": f"{name}.safetensors",
            "top1": own["top1"],
            "loss": own["loss"],
            "gain": pair["top1"] - other["top1"],
        }
        assert "members" not in own
    assert pair["against"]["top1"] == b["top1"]
    assert pair["against"]["difference"] == pytest.approx(pair["top1"] - b["top1"])


def test_an_unreadable_image_counts_for_neither(tmp_path: Path) -> None:
    lines = [
        f"{file.absolute()},{file.parent.name}" for file in sorted(Path("data").rglob("*.png"))
    ]
    (tmp_path / "empty.png").write_text("")
    (tmp_path / "list.csv").write_text("\n".join(["path,label", "empty.png,n0", *lines[:9]]))
    flags = ["--data", tmp_path / "list.csv", "--allow-outside", "--against", "b.safetensors"]
    check_one_line(inceptcli("eval", "a.safetensors", *flags), 1, "empty.png: empty file")
    flags += ["--skip-unreadable", "--format", "json", "--predictions", tmp_path / "rows.csv"]
    done = inceptcli("eval", "a.safetensors", *flags)
    found = json.loads(done.stdout)
    assert found["images"] == 9
    assert [entry["reason"] for entry in found["skipped"]] == ["empty file"]
    assert [row["error"] for row in rows(tmp_path / "rows.csv")] == [""] * 9 + ["empty file"]
    assert len(found["against"]["difference_interval"]) == 2


def test_groups_are_drawn_whole_for_the_comparison_too(tmp_path: Path) -> None:
    files = sorted(Path("data").rglob("*.png"))
    lines = [f"{file.absolute()},{file.parent.name},{n // 5}" for n, file in enumerate(files)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,patient", *lines]))
    done = inceptcli(
        "eval", "a.safetensors", "--against", "b.safetensors", "--data", tmp_path / "list.csv",
        "--allow-outside", "--bootstrap", 200, "--group", "patient", "--format", "json",
        "--predictions", tmp_path / "rows.csv",
    )  # fmt: skip
    found = json.loads(done.stdout)["against"]
    columns = [
        [
            (row["flip"] == "gained") - (row["flip"] == "lost"),
            float(row["loss"]) - float(row["against_loss"]),
        ]
        for row in rows(tmp_path / "rows.csv")
    ]
    groups = [number // 5 for number in range(36)]
    expected = brute_force(np.array(columns, float), groups, 200)
    assert found["difference_interval"] == pytest.approx(expected[0], abs=1e-12)
    assert found["loss_difference_interval"] == pytest.approx(expected[1], abs=1e-12)


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    damaged = changed(Path("b.safetensors"), tmp_path / "damaged.safetensors", 1, scale=np.nan)
    flags = ("--data", "data", "--skip-unreadable")
    said = f"output is not finite; its weights are damaged ({damaged})"
    check_one_line(inceptcli("eval", "a.safetensors", "--against", damaged, *flags), 1, said)


def test_outputs_of_two_kinds_are_compared_but_not_their_losses(tmp_path: Path) -> None:
    """The sigmoid of the same logits has the same most probable classes."""
    other, same = tmp_path / "sigmoid.safetensors", Path("a.safetensors")
    copy_with_metadata(same, other, replace(read_metadata(same), outputs="sigmoid"))
    page, words = tmp_path / "page.html", ("--data", "data", "--bootstrap", 100)
    done = inceptcli("eval", "b.safetensors", "--against", other, *words, "--report", page)
    assert done.exit_code == 0, done.output
    assert "difference of loss" not in (done.stdout + page.read_text()).lower()
    found, expected = (
        measured(*alone("b"), "--bootstrap", "100", "--against", str(name))["against"]
        for name in (other, same)
    )
    assert found["loss_difference"] is found["loss_difference_interval"] is None
    assert found["loss"] == measured(str(other))["loss"] != expected["loss"]
    for key in ("top1", "difference", "difference_interval", "mcnemar_p", "per_class"):
        assert found[key] == expected[key]
    done = inceptcli("eval", same, "--against", same, "--against", other, *words)
    check_one_line(done, 2, "an ensemble needs the same outputs")


def test_other_classes_are_one_line(tmp_path: Path) -> None:
    other = save_small_network(tmp_path / "other.safetensors", [f"x{n}" for n in range(3)])
    done = inceptcli("eval", "a.safetensors", "--against", other, "--data", "data")
    check_one_line(done, 2, "the networks must have the same classes: only a.safetensors (6 class")
    assert f"; only --against {other} (3 classes) has none" in done.stderr
    done = inceptcli("eval", "a.safetensors", "--against", "e.safetensors", "--data", "data")
    check_one_line(done, 2, "e.safetensors")


def test_python_compares_too(here: Path) -> None:
    found = package.evaluate("a.safetensors", "data", against=here / "b.safetensors")
    expected = measured(*alone("a", "both"), "--against", "b.safetensors")["against"]
    assert isinstance(found, Evaluation)
    assert found.against is not None
    assert found.against.mcnemar_p == expected["mcnemar_p"]
    assert found.against.difference_interval == tuple(expected["difference_interval"])
    assert found.members == ()
    with pytest.raises(ValueError, match="no weights; give at least one"):
        package.evaluate("a.safetensors", "data", against=[])
