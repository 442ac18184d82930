from __future__ import annotations

from typing import Any

import pytest

from inceptcli.errors import UsageError
from inceptcli.recipe.file import find_study, override, read_recipe, study_names
from inceptcli.recipe.study import check_study, recipe_of

VALUES: dict[str, Any] = {
    "question": "Is more better?",
    "measure": "mean-error",
    "seeds": [0, 1],
    "recipe": {"data": {"image_size": 75}, "trainer": {"epochs": 2}},
    "arms": {"one": {}, "two": {"trainer": {"epochs": 4}, "network": {"name": "iv4"}}},
    "comparisons": [{"arm": "two", "against": "one", "expected": "lower"}],
}


def test_a_runs_recipe_is_the_studys_with_what_the_arm_changes() -> None:
    study = check_study(VALUES, "study")
    recipe = recipe_of(study, "two", 1, "flowers")
    assert (recipe.data.image_size, recipe.data.path, recipe.trainer.seed) == (75, "flowers", 1)
    assert (recipe.trainer.epochs, recipe.network.name) == (4, "iv4")
    assert recipe_of(study, "one", 0, None).trainer.epochs == 2


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("seeds", [0], "study: seeds List must have at least 2 items"),
        (
            "measure",
            "loss",
            "study: measure must be 'mean-error', 'last-error', 'best-error' or 'dead-units', got",
        ),
        ("arms", {"one": {}}, "study: arms and grid must make 2 or more arms of different names"),
        ("arms", {"one": {}, "../two": {}}, "study: arms"),
        ("comparisons", [{"arm": "x", "against": "one", "expected": "lower"}], "name x; arms: one"),
        ("recipe", {"trainer": {"epoch": 1}}, "study, arm one: unknown key trainer.epoch; did you"),
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


@pytest.mark.parametrize("name", study_names())
def test_every_study_that_came_along_is_one(name: str) -> None:
    study = check_study(override(read_recipe(find_study(name)), {}), name)
    assert study.question.endswith("?")
    assert study.claim is not None


def test_the_papers_studies_are_there() -> None:
    assert set(study_names()) == {"residual-speed", "scaling", "shortcut"}


def test_an_unknown_study_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="no such study or file; known: residual-speed"):
        find_study("speed")
