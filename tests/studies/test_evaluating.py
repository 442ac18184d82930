"""Arms of a study that evaluate trained networks: crops, ensembles, differences of differences."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import inceptcli
from inceptcli.data.pixels.decode import UnreadableImage
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.data.pixels.shapes import CLASSES
from inceptcli.errors import UsageError, UserError
from inceptcli.evaluation.measures import Evaluation
from inceptcli.networks.registry import build, network_options
from inceptcli.prediction.predict import examine
from inceptcli.recipe.study import Comparison, check_study, recipe_of
from inceptcli.studies.evaluating import Evaluated, evaluate_all, interval_over_images
from inceptcli.studies.results import judge
from inceptcli.studies.runs import RunRecord, StudyResult, read_result, runs_of
from inceptcli.weights.file import save
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from tests.studies.test_study import VALUES
from tests.studies.trained import leave_files

EVALUATIONS: dict[str, Any] = {
    "one-1": {"of": ["one"]},
    "one-12": {"of": ["one"], "crops": 12},
    "both-1": {"of": ["one", "two"]},
    "both-12": {"of": ["one", "two"], "crops": 12},
}
GAIN = {
    "arm": "both-12", "against": "both-1", "expected": "higher",
    "minus": {"arm": "one-12", "against": "one-1"},
}  # fmt: skip
STUDY: dict[str, Any] = {
    "question": "Do crops help?",
    "measure": "evaluated-error",
    "seeds": [0, 1],
    "recipe": {
        "network": {"name": "irv1", "repeats": [1, 1, 1]},
        "data": {"image_size": 75, "val_size": 12},
    },
    "arms": {"one": {}, "two": {"network": {"dropout": 0.3}}},
    "evaluations": EVALUATIONS,
    "comparisons": [{"arm": "one-12", "against": "one-1", "expected": "lower"}, GAIN],
}


def trained(folder: Path) -> list[StudyResult]:
    """Results of the study's runs, whose networks are not trained but differ."""
    study = check_study(STUDY, "study")
    results = []
    for number, run in enumerate(runs_of(study, folder, None)):
        leave_files(run.folder, [0.5])
        RunRecord(1.5, True).write(run.folder)
        torch.manual_seed(number)
        options = network_options("irv1", num_classes=len(CLASSES), repeats=(1, 1, 1))
        classes = tuple(ClassName(name, name) for name in CLASSES)
        recipe = recipe_of(study, run.arm, 0, None).as_dict()  # one seed, so the same images
        metadata = WeightsMetadata(options, classes, Preprocessing((75, 75)), recipe=recipe)
        network = build(options).train()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0  # so that answers differ from image to image
        with torch.no_grad():
            network(torch.rand(8, 3, 75, 75) * torch.rand(8, 3, 1, 1) * 2 - 1)
        save(run.folder / "model.safetensors", network.state_dict(), metadata)
        results.append(read_result(run))
    return results


def test_evaluations_are_those_of_eval_and_are_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, results = check_study(STUDY, "study"), trained(tmp_path)
    evaluated = evaluate_all(study, results, tmp_path)
    assert [(each.arm, each.seed) for each in evaluated] == [
        (arm, seed) for seed in (0, 1) for arm in EVALUATIONS
    ]
    for each in evaluated[-4:]:
        folders = [tmp_path / f"{arm}-seed-1" for arm in each.of]
        expected = inceptcli.evaluate(folders, crops=12 if each.crops == 12 else 1)
        assert isinstance(expected, Evaluation)
        assert each.right == tuple(image.rank == 1 for image in expected.images)
    assert len({each.right for each in evaluated}) > 3
    monkeypatch.setattr("inceptcli.studies.evaluating.examine", None)
    assert evaluate_all(study, results, tmp_path) == evaluated
    (tmp_path / "evaluations" / "one-1-seed-0.json").write_text("{")
    with pytest.raises(TypeError):  # evaluated again
        evaluate_all(study, results, tmp_path)
    monkeypatch.undo()
    few = check_study({**STUDY, "evaluated_images": 5}, "study")
    found = evaluate_all(few, results, tmp_path)
    assert {len(each.images) for each in found} == {5}
    assert set(found[0].images) < set(evaluated[0].images)

    judged = json.loads(json.dumps(judge(study, results, evaluated=evaluated)))
    errors = judged["arms"]
    assert list(errors) == list(EVALUATIONS)
    crops, gain = judged["verdicts"]
    assert "minus" not in crops
    differences = [
        (both12 - both1) - (one12 - one1)
        for both12, both1, one12, one1 in zip(
            *(errors[arm] for arm in ("both-12", "both-1", "one-12", "one-1")), strict=True
        )
    ]
    assert gain["difference"] == pytest.approx(sum(differences) / 2)
    assert gain["images_interval"] is None  # each seed draws other shapes
    photographs = [each._replace(images=[*map(str, range(12))]) for each in evaluated]
    low, high = judge(study, results, evaluated=photographs)["verdicts"][1]["images_interval"]
    assert low - 1e-9 <= gain["difference"] <= high + 1e-9
    assert judged["evaluations"][0] == {
        "arm": "one-1", "seed": 0, "of": ["one"], "crops": 1, "images": 12,
        "error": errors["one-1"][0],
    }  # fmt: skip


def test_images_that_cannot_be_read_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notices: list[str]
) -> None:
    study, results = check_study(STUDY, "study"), trained(tmp_path)
    whole = evaluate_all(study, results, tmp_path)
    shutil.rmtree(tmp_path / "evaluations")
    broken = {3}

    def examine_some(numbers: range, *rest: Any) -> Iterator[tuple[int, Any]]:
        for number, seen in examine(numbers, *rest):
            yield number, UnreadableImage("truncated") if number in broken else seen

    monkeypatch.setattr("inceptcli.studies.evaluating.examine", examine_some)
    found = evaluate_all(study, results, tmp_path)
    for one, other in zip(found, whole, strict=True):
        kept = [right for number, right in enumerate(other.right) if number not in broken]
        assert one.error == pytest.approx(1 - sum(map(bool, kept)) / 11)
        assert one.as_dict()["images"] == 11
    assert (
        sum("left out, since 1 of 12 images could not be read: " in line for line in notices) == 4
    )
    broken.clear()  # repaired
    assert evaluate_all(study, results, tmp_path) == whole

    broken |= {3, 7}
    shutil.rmtree(tmp_path / "evaluations")
    with pytest.raises(UserError, match="2 of 12 images could not be read, of at most 1: "):
        evaluate_all(study, results, tmp_path)


def made(arm: str, seed: int, right: Sequence[bool | None]) -> Evaluated:
    images = tuple(map(str, range(len(right))))
    return Evaluated(arm, seed, [arm], 1, [], images, tuple(right))


def test_the_interval_over_the_images_is_of_their_means_over_the_seeds() -> None:
    comparison = Comparison(arm="a", against="b", expected="lower")
    alike = [made(arm, seed, [True, False] * 20) for seed in (0, 1) for arm in "ab"]
    assert interval_over_images(comparison, alike) == (0, 0)
    better = [made("a", 0, [True] * 40), made("b", 0, [True, False] * 20)]
    interval = interval_over_images(comparison, better)
    assert interval is not None
    assert -0.7 < interval[0] < -0.5 < interval[1] < -0.3
    assert interval_over_images(comparison, [*better, made("a", 1, [True] * 3)]) is None
    unread = [each._replace(right=(None, *each.right[1:])) for each in better]
    left_out = [each._replace(images=each.images[1:], right=each.right[1:]) for each in better]
    assert interval_over_images(comparison, unread) == interval_over_images(comparison, left_out)


def test_rounding_decides_no_claim(tmp_path: Path) -> None:
    right = {"both-12": 0, "both-1": 1, "one-12": 1, "one-1": 2}  # both lose one of seven images
    evaluated = [
        made(arm, seed, [True] * number + [False] * (7 - number))
        for seed in (0, 1)
        for arm, number in right.items()
    ]
    errors = {each.arm: each.error for each in evaluated}
    assert (errors["both-12"] - errors["both-1"]) - (errors["one-12"] - errors["one-1"]) != 0
    study = check_study(STUDY, "study")
    _, gain = judge(study, trained(tmp_path), evaluated=evaluated)["verdicts"]
    assert (gain["difference"], gain["answer"]) == (0, "undecided")


def test_a_search_may_be_of_evaluated_arms() -> None:
    search = {"key": "optimizer.learning_rate", "values": [0.1, 1.0], "seeds": [7]}
    assert check_study({**STUDY, "search": search}, "study").search is not None


def test_a_run_without_weights_is_one_line(tmp_path: Path) -> None:
    results = trained(tmp_path)
    results[0] = results[0]._replace(failure="the loss is not finite at step 3")
    with pytest.raises(UserError, match="one, seed 0: has no weights to evaluate, since the loss"):
        evaluate_all(check_study(STUDY, "study"), results, tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"evaluations": {"x": {"of": ["three"]}}}, "comparisons name one-12; arms: x"),
        ({"evaluations": {**EVALUATIONS, "x": {"of": ["three"]}}}, "x.of names three; arms: one"),
        ({"evaluations": {**EVALUATIONS, "one": {"of": ["one"]}}}, "one: is also the name of an"),
        ({"evaluations": {**EVALUATIONS, "x": {"of": ["one", "one"]}}}, "names an arm twice"),
        ({"evaluations": {**EVALUATIONS, "x": {"of": ["one"], "crops": 7}}}, "evaluations.x.crops"),
        ({"evaluations": {**EVALUATIONS, "one-12": {"of": ["one"]}}}, "have the same recipe"),
        ({"measure": "last-error"}, "the measure evaluated-error and evaluations belong together"),
        ({"evaluations": {}, "comparisons": VALUES["comparisons"]}, "belong together"),
        ({"comparisons": [{**GAIN, "minus": {"arm": "one", "against": "two"}}]}, "name one; arms:"),
        ({"trends": [{"over": "parameters", "expected": "lower"}]}, "omit trends and threshold"),
        ({"recipe": {"data": {"image_size": [75, 90]}}}, "crops 12: needs square images"),
        ({"evaluated_images": 1}, "evaluated_images"),
    ],
)
def test_wrong_evaluations_are_one_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        check_study({**STUDY, **changes}, "study")
