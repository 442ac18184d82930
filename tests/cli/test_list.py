from __future__ import annotations

import json

import pytest

from inceptcli.networks.registry import NETWORKS
from inceptcli.recipe.file import bundled_names, find, study_names
from inceptcli.weights.published import published_name
from inceptcli.weights.published_names import PUBLISHED
from tests.cli.conftest import check_one_line, inceptcli


def listed(what: str, format: str) -> str:
    done = inceptcli("list", what, "--format", format)
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    return done.stdout


def test_plain_names_are_what_the_options_take() -> None:
    assert listed("networks", "plain").splitlines() == list(NETWORKS)
    recipes = listed("recipes", "plain").splitlines()
    assert recipes == bundled_names()
    assert all(find(name).is_file() for name in recipes)
    assert listed("studies", "plain").splitlines() == study_names()
    weights = listed("weights", "plain").splitlines()
    assert [published_name(name) for name in weights] == list(PUBLISHED)


@pytest.mark.parametrize("what", ["networks", "recipes", "studies", "weights"])
def test_table_and_json_say_something_about_each(what: str) -> None:
    entries = json.loads(listed(what, "json"))
    lines = listed(what, "table").splitlines()
    assert [entry["name"] for entry in entries] == listed(what, "plain").splitlines()
    for entry, line in zip(entries, lines, strict=True):
        assert len(entry["about"]) > 10
        assert line.split(maxsplit=1) == [entry["name"], entry["about"]]


def test_an_unknown_list_is_wrong_use() -> None:
    done = inceptcli("list", "models")
    check_one_line(done, 2, "'models' is not one of 'networks', 'recipes', 'studies'")
