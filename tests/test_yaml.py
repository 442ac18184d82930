"""Recipes mean what a person reads in them, on the command line and in a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from inceptcli.cli.app import with_home
from inceptcli.errors import UsageError
from inceptcli.recipe.file import override, parse_yaml
from inceptcli.recipe.schema import check
from inceptcli.recipe.study import check_study, recipe_of
from inceptcli.recipe.yaml_text import dump, load_yaml
from tests.cli.conftest import check_one_line, inceptcli
from tests.studies.test_study import VALUES


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("-.5E+2", -50.0), ("1.", 1.0), (".inf", float("inf")),
        ("010", 10), ("+3", 3), ("0o17", 15), ("0x1F", 31), ("1:30", "1:30"), ("1_000", "1_000"),
        ("yes", "yes"), ("off", "off"), ("True", True), ("2020-01-01", "2020-01-01"),
        ("~", None), ("", None), ("'1e-3'", "1e-3"), ("~/flowers", "~/flowers"), ("v1.0", "v1.0"),
    ],
)  # fmt: skip
def test_a_plain_word_is_what_it_looks_like(text: str, value: object) -> None:
    found = load_yaml(f"key: {text}")["key"]
    assert (found, type(found)) == (value, type(value))


def test_what_is_written_is_read_again_the_same_by_any_reader() -> None:
    texts = ["1e-3", "yes", "010", "1:30", "~", "", "true", "0x1", "<<", "a: b", " x ", "=", "-"]
    numbers = [1e-8, 1e16, 0.1, 10, True, None, [0.5, 1e-5], 123456789.123]
    values = {f"key{number}": value for number, value in enumerate([*texts, *numbers])}
    assert load_yaml(dump(values)) == values
    assert yaml.safe_load(dump(values)) == values


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "trainer:\n  epochs: 3\ndata: {}\ntrainer:\n  seed: 1\n",
            "line 4: duplicate key trainer.* 1$",
        ),
        ("data:\n  workers: 1\n  'workers': 2\n", "line 3: duplicate key workers.* line 2$"),
        ("data: {path: a,\n path: b}", "line 2: duplicate key path.* line 1$"),
        ("trainer: !!int 1:30", "line 1: must be a whole number, got 1:30$"),
    ],
)
def test_a_key_that_is_there_twice_is_an_error_with_its_line(text: str, lines: str) -> None:
    with pytest.raises(UsageError, match=rf"^r\.yaml {lines}"):
        parse_yaml(text, "r.yaml")


def test_a_merge_key_is_no_key_of_a_recipe() -> None:
    text = "data: &data {workers: 1}\noptimizer: {<<: *data}\n"
    with pytest.raises(UsageError, match=r"unknown key optimizer\.<<"):
        check(parse_yaml(text, "r.yaml"), "r.yaml")


def test_the_name_alone_stands_for_a_section() -> None:
    recipe = check(parse_yaml("schedule: cosine\noptimizer: sgd\nnetwork: irv1\n", "r.yaml"))
    assert (recipe.schedule.name, recipe.optimizer.name, recipe.network.name) == (
        "cosine",
        "sgd",
        "irv1",
    )
    with pytest.raises(UsageError, match=r"r\.yaml: schedule\.name must be one of .* got 'cosin'"):
        check({"schedule": "cosin"}, "r.yaml")
    with pytest.raises(UsageError, match="data must be a valid dictionary"):
        check({"data": "flowers"}, "r.yaml")


def test_a_whole_section_and_its_keys_go_together_in_any_order() -> None:
    staircase = {"schedule": {"name": "staircase", "multiply_by": 0.9}}
    expected = {"schedule": {"name": "cosine", "warmup_epochs": 2}}
    for order in ((0, 1), (1, 0)):
        changes = [("schedule", "cosine"), ("schedule.warmup_epochs", 2)]
        assert override(staircase, dict(changes[place] for place in order)) == expected
    assert override({"schedule": "cosine"}, {"schedule.warmup_epochs": 2}) == expected


def test_the_arm_of_a_study_may_name_a_section() -> None:
    study = check_study({**VALUES, "arms": {"one": {}, "two": {"schedule": "cosine"}}}, "study")
    assert recipe_of(study, "two", 0, None).schedule.name == "cosine"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("trainer.compile=yes", "trainer.compile must be true or false, got 'yes'"),
        ("trainer.epochs=1:30", "trainer.epochs must be a valid integer, got '1:30'"),
        ("schedule=cosin", "schedule.name must be one of 'one-cycle', 'cosine'"),
        ("data=flowers", "--set data: a key is section.name"),
        ("network.dropout={a: 1, a: 2}", "line 1: duplicate key a"),
    ],
)
def test_set_speaks_the_same_language(change: str, said: str) -> None:
    check_one_line(inceptcli("train", "--set", change), 2, said)


def test_flags_in_the_form_of_a_person_reach_the_recipe(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "mine.yaml").write_text(
        "network: irv1\nschedule: cosine\ndata: {path: ~/flowers, val_path: ~/other}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "inceptcli", "train", "--recipe=~/mine.yaml", "--output=~/run"],
        env={"HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == f"Error: {home}/flowers: no such folder\n"


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("--output=~/run", "--output=/h/run"), ("~/*.jpg", "/h/*.jpg"), ("~", "/h"),
        ("./~/x", "./~/x"), ("a~", "a~"), ("--set=data.path=~/x", "--set=data.path=~/x"),
        ("--output=", "--output="), ("-", "-"), ("", ""), ("a\n~b", "a\n~b"),
    ],
)  # fmt: skip
def test_home_is_expanded_where_a_path_starts(
    argument: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/h")
    assert with_home(argument) == expected


def test_a_home_that_nobody_has_is_refused_unless_a_file_has_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = inceptcli("eval", "--report=~nobody-here/x.html", "run")
    check_one_line(done, 2, "no such home folder; a file of that name is ./~nobody-here/x.html")
    (tmp_path / "~draft").touch()
    assert with_home("~draft") == "~draft"


def test_a_tag_before_what_it_does_not_fit_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("trainer: {epochs: !!timestamp soon}\n")
    done = inceptcli("train", "--recipe", tmp_path / "r.yaml", "--output", tmp_path / "run")
    check_one_line(done, 2, "r.yaml: not YAML: a tag does not fit its value")
