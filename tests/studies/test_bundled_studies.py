"""The bundled studies: their claims, their arms, and their commands at tiny size."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest

from inceptcli.networks.registry import NETWORKS
from inceptcli.plots import run_curves
from inceptcli.recipe.file import find_study, override, read_recipe, study_names
from inceptcli.recipe.schema import Recipe, check
from inceptcli.recipe.study import Study, check_study, recipe_of, tried
from inceptcli.recipe.yaml_text import dump
from inceptcli.studies import training
from inceptcli.studies.results import sizes_of
from inceptcli.studies.runs import RECIPE, StudyRun
from inceptcli.training.plan import plan
from inceptcli.training.run import fit
from inceptcli.training.run_directory import RunDirectory
from tests.cli.conftest import inceptcli, picture

COMMAND = "#   inceptcli "
CLASSES = 5


def bundled(name: str) -> Study:
    return check_study(read_recipe(find_study(name)), name)


def header(name: str) -> list[str]:
    lines = find_study(name).read_text().splitlines()
    return [line for line in lines[: lines.index("claim:")] if line.startswith("#")]


def recipes(name: str) -> dict[str, Recipe]:
    """The recipe of each arm, with the first value of the search."""
    study = bundled(name)
    value = tried(study)[0]
    return {arm: recipe_of(study, arm, 0, None, value=value) for arm in study.all_arms()}


def multiply_adds(name: str) -> dict[str, int]:
    return {
        arm: sizes_of(recipe, CLASSES)["multiply-adds"] for arm, recipe in recipes(name).items()
    }


@pytest.mark.parametrize("name", study_names())
def test_a_bundled_study_states_its_claim_its_command_and_its_cost(name: str) -> None:
    study = bundled(name)
    assert study.claim is not None
    assert study.question.endswith("?")
    assert len(study.seeds) >= 3
    assert {recipe.data.image_size for recipe in recipes(name).values()} == {75}
    text = " ".join(line.removeprefix("#").strip() for line in header(name))
    assert ("Measured" in text) != ("Cost: not yet measured." in text)
    (command,) = [line for line in header(name) if line.startswith(COMMAND)]
    assert command.removeprefix(COMMAND) == (
        f"study {name} --data flowers --output runs/{name} --jobs 2"
    )


def test_networks_of_equal_cost_have_equal_multiply_adds() -> None:
    costs = multiply_adds("equal-cost")
    assert costs["irv2"] == pytest.approx(costs["iv4"], rel=0.02)


def test_the_widths_of_the_map_lie_on_both_sides_of_1000_filters() -> None:
    filters = {
        recipe.network.width: sizes_of(recipe, CLASSES)["filters"]
        for recipe in recipes("width-by-scale").values()
    }
    assert filters == {0.25: 536, 0.5: 1072, 0.7: 1501, 1.0: 2144}
    assert len(bundled("width-by-scale").cells()) == 12


def test_every_network_is_an_arm_of_the_trend_over_cost() -> None:
    costs = multiply_adds("network-size")
    assert set(costs) == set(NETWORKS)
    assert 2 <= max(costs.values()) / min(costs.values()) <= 2.5


def test_an_average_and_the_raw_weights_come_from_the_same_training() -> None:
    averaged, raw = (recipe.as_dict() for recipe in recipes("averaging").values())
    assert averaged.pop("averaging") != raw.pop("averaging")
    assert averaged == raw


@pytest.mark.parametrize("name", ["lower-rate", "batch-norm-last"])
def test_three_rates_are_tried_beyond_216_steps(name: str) -> None:
    arms = recipes(name).values()
    assert {recipe.optimizer.learning_rate for recipe in arms} == {0.045, 0.015, 0.0045}
    steps = [recipe.trainer.epochs * (3464 // int(recipe.data.batch_size)) for recipe in arms]
    assert min(steps) > 216


class TrainedHere(training.Process):
    """A run of tiny size, trained in this process; equal but for seed and rate, it is a copy."""

    trained: ClassVar[dict[str, Path]] = {}

    def __init__(self, run: StudyRun, threads: int) -> None:
        self.run = run
        run.folder.mkdir(parents=True)
        (run.folder / RECIPE).write_text(dump(run.recipe.as_dict()))
        recipe = tiny(run.recipe)
        alike = override(recipe.as_dict(), {"trainer.seed": 0, "optimizer.learning_rate": 1e-3})
        first = self.trained.setdefault(json.dumps(alike), run.folder)
        if first == run.folder:
            fit(plan(recipe), RunDirectory(run.folder))
        else:
            for name in ("metrics.csv", "data.jsonl.gz", "model.safetensors"):
                shutil.copy(first / name, run.folder)
            (run.folder / "recipe.yaml").write_text(dump(recipe.as_dict()))

    def ended(self, *, wait: bool = False) -> training.Ended | None:
        return training.Ended(0, [])


def tiny(recipe: Recipe) -> Recipe:
    """One step and one validation of two images, with an eighth of the filters."""
    changes: dict[str, Any] = {
        "network.width": (recipe.network.width or 1.0) / 8,
        "data.batch_size": 2,
        "trainer.epochs": 1,
        "trainer.limit_batches": 1,
        "trainer.accelerator": "cpu",
    }
    if NETWORKS[recipe.network.name].repeats is not None:
        changes["network.repeats"] = [1, 1, 1]
    return check(override(recipe.as_dict(), changes))


@pytest.fixture(scope="session")
def folder_with_flowers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    for part in ("train", "val"):
        for number, flower in enumerate(("daisy", "rose")):
            picture(folder / f"flowers/{part}/{flower}/{number}.png", number)
    return folder


@pytest.mark.train
@pytest.mark.parametrize("name", study_names())
def test_a_bundled_study_runs_as_its_file_prints_it(
    name: str, folder_with_flowers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder_with_flowers)
    monkeypatch.setattr(training, "Process", TrainedHere)
    monkeypatch.setattr(training, "POLL_SECONDS", 0)
    monkeypatch.setattr(run_curves, "draw_run_curves", lambda *_: None)
    (command,) = [line for line in header(name) if line.startswith(COMMAND)]
    done = inceptcli(*shlex.split(command.removeprefix(COMMAND)), "--format", "json")
    assert done.exit_code == 0, done.output
    judged, study = json.loads(done.stdout), bundled(name)
    assert study.claim is not None
    assert judged["claim"]["says"] == study.claim.says
    assert list(judged["arms"]) == list(study.evaluations or study.all_arms())
    assert {len(values) for values in judged["arms"].values()} == {len(study.seeds)}
    assert all(run["failure"] is None and run["errors"] for run in judged["runs"])
    assert len(judged["verdicts"]) == len(study.comparisons)
    assert len(judged["trends"]) == len(study.trends)
