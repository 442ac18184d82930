from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image

from inceptcli.data.file_paths import FilePaths
from inceptcli.data.folders import LabeledImages
from inceptcli.data.identity import DataIdentity
from inceptcli.data.sources import FolderSource
from tests.cli.conftest import check_one_line, inceptcli
from tests.plots.runs import rows, write_run

IDS = tuple(f"n{number:08}" for number in range(1000))
"""As many classes as ILSVRC has, named by synsets."""


def write_identity(folder: Path, validation: int) -> None:
    """Write the record of a run on ILSVRC with so many validation images, of which it has none."""
    images = FolderSource(LabeledImages(IDS, FilePaths.of(()), ()))
    DataIdentity(IDS, images, images).write(folder / "data.jsonl.gz")
    head, *rest = gzip.decompress((folder / "data.jsonl.gz").read_bytes()).splitlines(keepends=True)
    head = json.dumps({**json.loads(head), "validation": validation}).encode() + b"\n"
    (folder / "data.jsonl.gz").write_bytes(gzip.compress(b"".join([head, *rest])))


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """A slow run and one that learns faster but takes longer for an epoch."""
    slow = write_run(tmp_path / "iv3", [60, 50, 40, 32, 31])
    return slow, write_run(tmp_path / "irv1", [50, 35, 30.5], hours_per_epoch=2)


def test_the_table_says_who_is_first(runs: tuple[Path, Path]) -> None:
    done = inceptcli("compare", *runs, "--reach", "50,40,35,30")
    assert done.exit_code == 0, done.output
    assert "Epochs until the top-1 validation error is at most" in done.stdout
    cells = [line.split() for line in done.stdout.splitlines() if line.startswith("  i")]
    assert cells == [
        ["iv3", "2", "3", "4", "-", "31.00", "%", "5", "31.00", "%"],
        ["irv1", "1*", "2*", "2*", "-", "30.50", "%", "3", "30.50", "%"],
    ]
    assert done.stdout.splitlines()[-2:] == ["*   first to reach it", "-   not reached"]
    by_hours = inceptcli("compare", *runs, "--reach", "50,40", "--by", "hours").stdout
    assert [line.split()[:3] for line in by_hours.splitlines() if line.startswith("  i")] == [
        ["iv3", "1.00*", "1.50*"],
        ["irv1", "2.00", "4.00"],
    ]


def test_json_and_csv_say_the_same(runs: tuple[Path, Path]) -> None:
    options = ("--metric", "top5", "--reach", "10,5")
    found = json.loads(inceptcli("compare", *runs, *options, "--format", "json").stdout)
    assert (found["metric"], found["unit"], found["window"]) == ("top5", "%", 0)
    assert found["curves"][0] == {
        "curve": "iv3", "source": "run", "epochs": 5, "best": 7.75, "best_epoch": 5,
        "final": 7.75,
        "reached": [
            {"value": 10, "reached": "yes", "epoch": 3, "step": 300, "hours": 1.5},
            {"value": 5, "reached": "no", "epoch": None, "step": None, "hours": None},
        ],
    }  # fmt: skip
    assert inceptcli("compare", *runs, *options, "--format", "csv").stdout.splitlines() == [
        "curve,source,metric,window,value,reached,epoch,step,hours",
        "iv3,run,top5,0,10,yes,3,300,1.5",
        "iv3,run,top5,0,5,no,,,",
        "irv1,run,top5,0,10,yes,2,200,4.0",
        "irv1,run,top5,0,5,no,,,",
    ]


def test_a_window_averages_over_epochs(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [50, 30, 50, 29, 28])
    for window, epoch in ((0, "2"), (1, "5")):
        done = inceptcli("compare", run, "--reach", "36", "--window", window, "--format", "csv")
        assert done.stdout.splitlines()[1].split(",")[6] == epoch


@pytest.mark.parametrize(("window", "final"), [(0, 33.0), (1, 30.5), (2, 34.75)])
def test_the_final_value_is_the_mean_of_the_last_epochs_of_the_window(
    tmp_path: Path, window: int, final: float
) -> None:
    run = write_run(tmp_path / "run", [60, 50, 28, 33])
    found = json.loads(inceptcli("compare", run, "--window", window, "--format", "json").stdout)[
        "curves"
    ][0]
    assert (found["best"], found["final"]) == (28, pytest.approx(final))
    table = inceptcli("compare", run, "--window", window).stdout
    (row,) = (line for line in table.splitlines() if line.startswith("  run "))
    assert row.endswith(f"{final:.2f} %  ")


def test_the_paper_alone_prints_its_own_table() -> None:
    done = inceptcli("compare", "--paper", "--reach", "22,21", "--format", "csv")
    assert done.stdout.splitlines()[1:] == [
        "paper iv3,paper,top1,2,22,yes,134,,",
        "paper iv3,paper,top1,2,21,no,,,",
        "paper irv1,paper,top1,2,22,yes,84,,",
        "paper irv1,paper,top1,2,21,no,,,",
        "paper iv4,paper,top1,2,22,yes,91,,",
        "paper iv4,paper,top1,2,21,yes,107,,",
        "paper irv2,paper,top1,2,22,yes,80,,",
        "paper irv2,paper,top1,2,21,yes,99,,",
    ]
    shown = inceptcli("compare", "--paper").stdout
    printed = Path(__file__).parents[2] / ".github/pictures/compare.txt"
    assert [line.rstrip() for line in shown.splitlines()] == printed.read_text().splitlines()
    begun = inceptcli("compare", "--paper", "--reach", "29").stdout.splitlines()
    (irv1,) = [line for line in begun if "paper irv1" in line]
    assert begun[-1] == "<N  reached before N, where the curve begins"
    assert "<20" in irv1
    assert not [line for line in begun if "paper" in line and "*" in line]  # nobody knows


def test_the_paper_and_runs_are_smoothed_alike(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [60, 50, 22, 50, 40, *[30] * 15, 23, 21.9, 23, 23, 21, 20])

    def reached(*options: str) -> dict[str, str]:
        done = inceptcli("compare", run, "--paper", "--reach", "22", *options, "--format", "csv")
        rows = (line.split(",") for line in done.stdout.splitlines()[1:])
        return {row[0]: row[6] for row in rows}

    assert (reached()["run"], reached()["paper irv2"]) == ("26", "80")
    unsmoothed = reached("--window", "0")
    assert unsmoothed["run"] == "3"
    assert int(unsmoothed["paper irv2"]) < 80
    alone = inceptcli("compare", run, "--reach", "22", "--format", "csv").stdout
    assert alone.splitlines()[1].split(",")[6] == "3"


def test_the_paper_s_errors_are_of_the_images_that_the_runs_measured(tmp_path: Path) -> None:
    folders = []
    for name, exclude in (("all", "null"), ("less", "blacklist.txt")):
        folders.append(write_run(tmp_path / name, [60, 50]))
        (tmp_path / name / "recipe.yaml").write_text(f"data: {{path: x, exclude: {exclude}}}\n")
        write_identity(tmp_path / name, 50_000)
    whole, less = folders

    def best(*runs: Path) -> tuple[dict[str, float], str]:
        done = inceptcli("compare", *runs, "--paper", "--format", "json", "--metric", "top1")
        curves = json.loads(done.stdout)["curves"]
        return {curve["curve"]: curve["best"] for curve in curves}, done.stderr

    published = 19.63
    assert best(less)[0]["paper irv2"] == pytest.approx(published, abs=0.01)
    errors, said = best(whole)
    assert errors["paper irv2 (all images)"] == pytest.approx(published + 0.3, abs=0.01)
    assert "about 0.3 (top1) and 0.15 (top5) points; they are added to the paper's" in said
    errors, said = best(whole, less)
    assert errors["paper irv2"] == pytest.approx(published, abs=0.01)
    assert "the paper and the other runs excluded some" in said
    flowers = write_run(tmp_path / "flowers", [60])
    assert "paper irv2" in best(flowers)[0]
    for validation, recipe in (
        (25_620, "data: {path: x, val_fraction: 0.02}"),
        (50_000, "data: {path: x}\ntrainer: {limit_batches: 10}"),
    ):
        write_identity(whole, validation)
        (whole / "recipe.yaml").write_text(recipe + "\n")
        errors, said = best(whole)
        assert errors["paper irv2"] == pytest.approx(published, abs=0.01)
        assert "validation images" not in said


def test_runs_that_have_losses_only_are_compared_by_them(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [60, 50])
    lines = (run / "metrics.csv").read_text().splitlines()
    names = lines[0].split(",")
    lacking = [names.index("val_top1"), names.index("val_top5")]
    for number, line in enumerate(lines[1:], 1):
        fields = line.split(",")
        for place in lacking:
            fields[place] = ""
        lines[number] = ",".join(fields)
    (run / "metrics.csv").write_text("\n".join(lines) + "\n")
    done = inceptcli("compare", run, "--format", "json", "--output", tmp_path / "out.png")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["metric"] == "loss"
    done = inceptcli("compare", run, "--metric", "top1")
    check_one_line(done, 1, "nothing to compare: no run has top1")


def test_panels_without_the_paper_end_where_the_runs_do(
    runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = dict[str, float]()

    def saved(figure: Figure, path: Path, **options: Any) -> None:
        limits.update({axes.get_title(loc="left"): axes.get_xlim()[1] for axes in figure.axes})

    monkeypatch.setattr(Figure, "savefig", saved)
    done = inceptcli("compare", *runs, "--paper", "--output", tmp_path / "out.png")
    assert done.exit_code == 0, done.output
    assert list(limits) == [
        "Top-1 validation error, %", "Top-5 validation error, %", "Validation loss", "Training loss"
    ]  # fmt: skip
    assert [limit > 190 for limit in limits.values()] == [True, True, False, False]
    assert max([*limits.values()][2:]) < 6


def test_the_picture_and_its_points_go_where_they_are_told(
    runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    done = inceptcli("compare", *runs, "--paper")
    assert (done.exit_code, list(elsewhere.iterdir())) == (0, [])
    for _ in range(2):  # the second time over the first
        done = inceptcli("compare", *runs, "--paper", "--output", "both.png")
        assert done.exit_code == 0, done.output
    assert {path.name for path in elsewhere.iterdir()} == {"both.png", "both.csv"}
    with Image.open("both.png") as image:
        assert image.size == (1440, 1080)
    points = rows(Path("both.csv"))
    assert {row["metric"] for row in points} == {"top1", "top5", "loss", "train-loss"}
    assert {row["curve"] for row in points if row["source"] == "paper"} == {
        "paper iv3", "paper irv1", "paper iv4", "paper irv2"
    }  # fmt: skip
    assert points[1] == {
        "curve": "iv3", "source": "run", "metric": "top1", "epoch": "2", "step": "200",
        "hours": "1.00000", "value": "50.0",
    }  # fmt: skip
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("by", ["step", "hours"])
@pytest.mark.parametrize("metrics", [["top1"], ["loss", "train-loss"], ["top1", "top5", "loss"]])
def test_other_pictures_are_drawn_too(
    runs: tuple[Path, Path], tmp_path: Path, by: str, metrics: list[str]
) -> None:
    chosen = [option for metric in metrics for option in ("--metric", metric)]
    done = inceptcli("compare", *runs, *chosen, "--by", by, "--output", tmp_path / "out.png")
    assert done.exit_code == 0, done.output
    assert {row["metric"] for row in rows(tmp_path / "out.csv")} == set(metrics)


def test_runs_of_one_name_are_told_apart_and_one_run_counts_once(tmp_path: Path) -> None:
    one, other = write_run(tmp_path / "a/run", [50]), write_run(tmp_path / "b/run", [40])
    done = inceptcli("compare", one, other, f"{one}/../run", "--format", "json")
    assert [curve["curve"] for curve in json.loads(done.stdout)["curves"]] == ["a/run", "b/run"]


def test_names_are_data(tmp_path: Path) -> None:
    names = ["=HYPERLINK(1)", "[red]x[red]", "_$x$", "a\x1b[31m"]
    folders = [write_run(tmp_path / name, [50, 40]) for name in names]
    done = inceptcli("compare", *folders, "--output", tmp_path / "out.png")
    assert done.exit_code == 0, done.output
    assert "[red]x[red]" in done.stdout
    assert "\x1b" not in done.stdout
    assert {row["curve"] for row in rows(tmp_path / "out.csv")} == {
        "'=HYPERLINK(1)", "[red]x[red]", "_$x$", "a\\x1b[31m"
    }  # fmt: skip


def test_a_run_in_progress_is_compared_and_one_without_an_epoch_left_out(tmp_path: Path) -> None:
    begun, empty = write_run(tmp_path / "begun", [50]), write_run(tmp_path / "empty", [])
    (empty / "metrics.csv").write_text("")
    with (begun / "metrics.csv").open("a") as file:
        file.write("2,200,36")
    done = inceptcli("compare", begun, empty, "--reach", "60")
    assert done.exit_code == 0
    assert "empty: skipped, no epoch is finished yet" in done.stderr
    assert "begun" in done.stdout
    check_one_line(inceptcli("compare", empty), 1, "no run has finished an epoch")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give run directories, or --paper"),
        (["missing", "other"], "no metrics.csv in missing, other; give run directories"),
        (["--paper", "--by", "hours"], "--by hours: the paper's curves have epochs only"),
        (["--paper", "--reach", "22,x"], "--reach must be numbers over 0 such as 30,25,22"),
        (["--paper", "--reach", "0"], "--reach must be numbers over 0 such as 30,25,22"),
        (["--paper", "--reach", "nan"], "--reach must be numbers over 0 such as 30,25,22"),
        (["--paper", "--output", "out.pdf"], "--output out.pdf: must end in .png"),
        (["--paper", "--output", "no/out.png"], "--output no/out.png: there is no folder no"),
        (["run", "--output", "run/metrics.png"], "is also the input run/metrics.csv"),
    ],
)
def test_wrong_use_is_one_line(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run", [50])
    check_one_line(inceptcli("compare", *arguments), 2, said)


def test_a_metric_that_nothing_has_is_one_line() -> None:
    done = inceptcli("compare", "--paper", "--metric", "loss")
    check_one_line(done, 1, "--metric loss: nothing to compare; the paper's curves are top1")


def test_a_file_that_no_run_wrote_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,step,seconds\n1,two,3\n")
    done = inceptcli("compare", tmp_path)
    check_one_line(done, 1, "metrics.csv, line 2: step must be a number, got 'two'")


def test_a_picture_is_drawn_without_torch(runs: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = ["compare", *map(str, runs), "--paper", "--output", str(tmp_path / "out.png")]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "inceptcli", *arguments],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "matplotlib" in imported
    assert not imported & {"torch", "lightning", "torchvision", "matplotlib.pyplot"}
    assert all(line.startswith(("import time:", "wrote ")) for line in done.stderr.splitlines())
