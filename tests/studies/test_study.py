from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import inceptcli
from inceptcli.errors import UsageError
from inceptcli.recipe.file import find_study, parse_yaml
from inceptcli.recipe.study import Study, check_study, recipe_of

VALUES: dict[str, Any] = {
    "question": "Is more better?",
    "measure": "mean-error",
    "seeds": [0, 1],
    "recipe": {"data": {"image_size": 75}, "trainer": {"epochs": 2}},
    "arms": {"one": {}, "two": {"trainer": {"epochs": 4}, "network": {"name": "iv4"}}},
    "comparisons": [{"arm": "two", "against": "one", "expected": "lower"}],
}


CLAIM = VALUES["comparisons"][0]
TREND: dict[str, Any] = {"over": "parameters", "expected": "lower"}
SEARCH: dict[str, Any] = {"key": "optimizer.learning_rate", "values": [0.1, 1.0], "seeds": [7]}
AXIS: dict[str, Any] = {"key": "network.dropout", "label": "Dropout", "values": [0.1, 0.2]}


def test_an_arm_may_have_another_optimizer() -> None:
    recipe = {"optimizer": {"name": "rmsprop_tf", "epsilon": 1.0}}
    arms = {"one": {}, "two": {"optimizer": {"name": "sgd", "learning_rate": 0.5}}}
    study = check_study({**VALUES, "recipe": recipe, "arms": arms}, "study")
    assert recipe_of(study, "two", 0, None).optimizer.name == "sgd"


def test_other_seeds_must_not_be_those_of_the_search() -> None:
    values = {**VALUES, "search": {**SEARCH, "seeds": [3]}}
    assert check_study(values, "study", 3).seeds == [0, 1, 2]
    with pytest.raises(UsageError, match="got 3 in both"):
        check_study(values, "study", 4)


def test_a_runs_recipe_is_the_studys_with_what_the_arm_changes() -> None:
    study = check_study(VALUES, "study")
    recipe = recipe_of(study, "two", 1, "flowers")
    assert (recipe.data.image_size, recipe.data.path, recipe.trainer.seed) == (75, "flowers", 1)
    assert (recipe.trainer.epochs, recipe.network.name) == (4, "iv4")
    assert recipe_of(study, "one", 0, None).trainer.epochs == 2


def test_a_study_may_name_its_data() -> None:
    recipe = {"data": {"image_size": 75, "path": "flowers"}}
    study = check_study({**VALUES, "recipe": recipe}, "study")
    assert recipe_of(study, "one", 0, None).data.path == "flowers"
    assert recipe_of(study, "one", 0, "trees").data.path == "trees"


def test_more_seeds_continue_those_of_the_study() -> None:
    found = [check_study({**VALUES, "seeds": [5, 1]}, "study", n).seeds for n in (2, 3, 5)]
    assert found == [[5, 1], [5, 1, 0], [5, 1, 0, 2, 3]]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("seeds", [0], "study: seeds List must have at least 2 items"),
        ("seeds", [1, 0, 1], "study: seeds repeats a seed; each must train a run of its own"),
        ("recipe", {"trainer": {"validate_every": 2, "epochs": 2}}, "validate_every must be 1"),
        ("search", {**SEARCH, "seeds": [7, 7]}, "study: search.seeds repeats a seed"),
        (
            "measure",
            "loss",
            "study: measure must be 'mean-error', 'last-error', 'best-error', 'dead-units' or",
        ),
        ("arms", {"one": {}}, "study: arms and grid must make 2 or more arms of different names"),
        ("arms", {"one": {}, "../two": {}}, "study: arms"),
        ("comparisons", [{"arm": "x", "against": "one", "expected": "lower"}], "name x; arms: one"),
        ("recipe", {"trainer": {"epoch": 1}}, "study, arm one: unknown key trainer.epoch; did you"),
        ("comparisons", [], "study: comparisons, trends or threshold must say what is tested"),
        ("comparisons", [{**CLAIM, "expected": "no-difference"}], "margin must be given with no-"),
        ("comparisons", [{**CLAIM, "margin": 0.1}], "margin must be given with no-difference, not"),
        ("arms", {"one": {}, "two": {}}, "study: arms two and one have the same recipe"),
        ("trends", [{**TREND, "arms": ["one", "x"]}], "study: trends name x; arms: one, two"),
        ("trends", [{**TREND, "over": "size"}], "study: trends.0.over must be 'multiply-adds'"),
        ("search", {**SEARCH, "seeds": [1]}, "search.seeds must not be seeds of the study, got 1"),
        ("search", {**SEARCH, "values": [0.1, 0.1]}, "study: search.values repeats a value"),
        ("search", {**SEARCH, "key": "trainer.epochs"}, "arm two sets trainer.epochs, which sear"),
        ("search", {**SEARCH, "values": [0.1, "x"]}, "optimizer.learning_rate must be a valid num"),
        ("grid", [AXIS, AXIS], "study: two axes of grid have the same key"),
        ("grid", [{**AXIS, "values": [0.1, 0.1]}], "must make 2 or more arms of different names"),
        ("grid", [{**AXIS, "key": "dropout"}], "study: grid.0.key"),
        ("grid", [{**AXIS, "key": "network.x"}], "unknown key network.x; known: name"),
        ("threshold", {"along": "network.dropout", "above": 0.5}, "must be a key of grid, got net"),
        (
            "arms",
            {"one": {}, "two": {"data": {"path": "x"}}},
            "study: two sets data.path; errors on",
        ),
        ("grid", [{**AXIS, "key": "data.path", "values": ["x", "y"]}], "dropout-x sets data.path"),
        ("arms", {"one": {}, "two": {"data": {"val_path": "x"}}}, "two sets data.val_path; errors"),
        ("arms", {"one": {"data": {"val_fraction": 0.1}}, "two": {}}, "one sets data.val_fraction"),
        ("search", {**SEARCH, "key": "data.path", "values": ["x", "y"]}, "search sets data.path"),
        ("recipe", {"trainer": {"seed": 3}}, "study: recipe sets trainer.seed; list the seeds in"),
        ("arms", {"one": {}, "two": {"trainer": {"seed": 3}}}, "study: two sets trainer.seed"),
        ("claims", "", "study: unknown key claims; did you mean claim?"),
        ("claim", {"section": "3.3", "says": ""}, "study: claim.says"),
        ("claim", {"section": "Figure 20", "says": "It dies."}, "study: claim.section"),
    ],
)
def test_what_is_wrong_with_a_study_is_one_line(key: str, value: Any, said: str) -> None:
    with pytest.raises(UsageError) as error:
        check_study({**VALUES, key: value}, "study")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_study_of_the_guide_is_one() -> None:
    page = (Path(inceptcli.__file__).parent / "guide/studies.md").read_text()
    texts = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    whole, evaluations = (parse_yaml(text, "page") for text in texts)
    study = check_study(whole, "page")
    of_evaluations = {"arms", "evaluations", "evaluated_images"}
    assert study.model_fields_set == Study.model_fields.keys() - of_evaluations
    assert len(study.all_arms()) == 6
    assert check_study({**VALUES, **evaluations}, "page").model_fields_set > of_evaluations


def test_an_unknown_study_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="no such study or file; known: averaging"):
        find_study("speed")
