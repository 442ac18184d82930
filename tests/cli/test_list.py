from __future__ import annotations

import json
import re
import sys

import pytest

from inceptcli.cli.completion import complete_key
from inceptcli.networks.registry import NETWORKS
from inceptcli.recipe.file import bundled_names, find_recipe, study_names
from inceptcli.recipe.schema import check
from inceptcli.weights.fetched.published import published_name
from inceptcli.weights.fetched.published_names import PUBLISHED
from tests.cli.conftest import check_one_line, inceptcli
from tests.terminal import Terminal


def listed(what: str, format: str) -> str:
    done = inceptcli("list", what, "--format", format)
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    return done.stdout


def test_plain_names_are_what_the_options_take() -> None:
    assert listed("networks", "plain").splitlines() == list(NETWORKS)
    recipes = listed("recipes", "plain").splitlines()
    assert recipes == bundled_names()
    assert all(find_recipe(name).is_file() for name in recipes)
    assert listed("studies", "plain").splitlines() == study_names()
    weights = listed("weights", "plain").splitlines()
    assert [published_name(name) for name in weights] == list(PUBLISHED)


@pytest.mark.parametrize("what", ["networks", "recipes", "keys", "studies", "weights"])
def test_table_and_json_say_something_about_each(what: str) -> None:
    entries = json.loads(listed(what, "json"))
    lines = listed(what, "table").splitlines()
    assert [entry["name"] for entry in entries] == listed(what, "plain").splitlines()
    for entry, line in zip(entries, lines, strict=True):
        assert len(entry["about"]) > 10
        said = f"{entry['about']} ({entry['values']})" if what == "keys" else entry["about"]
        assert line.split(maxsplit=1) == [entry["name"], said]


def test_keys_are_all_that_a_recipe_may_have_with_their_values() -> None:
    names = listed("keys", "plain").splitlines()
    assert len(set(names)) == len(names)
    for optimizer, schedule in (("rmsprop_tf", "staircase"), ("lamb", "cosine")):
        chosen = {"optimizer": {"name": optimizer}, "schedule": {"name": schedule}}
        filled = check(chosen).as_dict()
        assert {f"{section}.{key}" for section in filled for key in filled[section]} <= set(names)
    entries = json.loads(listed("keys", "json"))
    about = {entry["name"]: entry["values"] for entry in entries}
    assert about["trainer.epochs"] == "whole number >= 1; default 10"
    assert about["optimizer.name"] == "adamw|sgd|rmsprop_tf|lamb; default adamw"
    assert about["optimizer.momentum"] == "number >= 0, <= 1; default sgd 0.9, rmsprop_tf 0.9"
    assert about["network.repeats"] == "[3 of whole number >= 1] or null; default null"
    assert about["augmentation.style"] == 'usual|authors|none; default "usual"'
    assert about["trainer.compile"] == "true|false; default false"
    for entry in entries:  # a sentence
        assert re.fullmatch(r"[A-Z][^\n]{10,}\.", entry["about"]), entry
    (epochs,) = [entry["about"] for entry in entries if entry["name"] == "trainer.epochs"]
    assert epochs == "Passes over the training images."


def test_a_recipe_is_printed_as_it_is() -> None:
    for name in bundled_names():
        done = inceptcli("list", "recipe", name)
        assert (done.exit_code, done.stderr) == (0, "")
        assert done.stdout_bytes == find_recipe(name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["recipe"],
            "list recipe: which recipe? give a NAME; known: demo, finetune, finetune-head,",
        ),
        (
            ["recipe", "dem"],
            "list recipe: no such recipe dem; known: demo, finetune, finetune-head,",
        ),
        (["recipe", "studies/warm-up"], "no such recipe studies/warm-up; known: demo,"),
        (["recipe", "demo", "--format", "json"], "prints the file itself; omit --format json"),
        (["networks", "irv2"], "list networks takes no name, got irv2"),
    ],
)
def test_wrong_names_are_one_line(arguments: list[str], said: str) -> None:
    check_one_line(inceptcli("list", *arguments), 2, said)


def test_keys_wrap_at_word_ends_on_a_terminal_alone() -> None:
    terminal = Terminal([sys.executable, "-m", "inceptcli", "list", "keys"], 90)
    assert terminal.finish() == 0
    lines = terminal.written.splitlines()
    assert max(map(len, lines)) <= 90
    (number,) = [n for n, line in enumerate(lines) if line.startswith("trainer.stop_after")]
    indent = len(re.match(r"trainer.stop_after *", lines[number])[0])  # type: ignore[index]
    assert lines[number + 1][:indent].isspace()
    whole = " ".join(line.strip() for line in lines[number : number + 2])
    assert " ".join(whole.split()) in " ".join(listed("keys", "table").split())


def test_the_shell_completes_keys() -> None:
    assert [name for name, _ in complete_key("averaging.")] == [
        "averaging.decay",
        "averaging.warm_up",
    ]


def test_an_unknown_list_is_wrong_use() -> None:
    done = inceptcli("list", "models")
    check_one_line(done, 2, "'models' is not one of 'networks', 'recipes', 'keys', 'studies'")
