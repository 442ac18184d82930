"""Whatever a recipe or the flags hold: a run that can start, or one line and exit code 2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from typer import echo

from inceptcli.errors import UsageError
from inceptcli.jobs import train as job
from inceptcli.recipe.file import override, parse_yaml, read_recipe
from inceptcli.recipe.schema import Recipe, check
from inceptcli.training.plan import plan
from tests.cli.conftest import inceptcli

KEYS = [
    f"{section}.{key}" for section, values in Recipe().as_dict().items() for key in sorted(values)
]
# Starting from weights may fetch them.
KEYS.remove("network.init")

words = some.sampled_from(
    [
        "irv1", "iv4-tf", "adamw", "sgd", "rmsprop_tf", "cosine", "constant", "one-cycle", "auto",
        "cpu", "32-true", "ddp", "fsdp", "squash", "none", "stem", "1h", "", ".", "shapes",
    ]
)  # fmt: skip
scalars = some.one_of(
    some.none(),
    some.booleans(),
    some.integers(),
    some.integers(-1, 300),
    some.floats(),
    some.floats(0, 1),
    words,
    some.text(max_size=300),
    some.binary(max_size=4),
    some.dates(),
)
values = some.recursive(
    scalars,
    lambda part: some.one_of(
        some.lists(part, max_size=3),
        some.dictionaries(some.one_of(some.just("name"), scalars), part, max_size=3),
    ),
    max_leaves=5,
)
whole_recipes = some.dictionaries(
    some.one_of(some.sampled_from(list(Recipe().as_dict())), some.text(max_size=5)),
    some.one_of(
        values,
        some.dictionaries(
            some.one_of(
                some.sampled_from([key.split(".")[1] for key in KEYS]), some.text(max_size=5)
            ),
            values,
            max_size=4,
        ),
    ),
    max_size=4,
)
many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty folder, in which `train` checks all that it is given and then trains nothing."""
    with pytest.MonkeyPatch.context() as patch:
        empty = tmp_path_factory.mktemp("empty")
        patch.chdir(empty)
        patch.setattr(job, "_fit", lambda *_: echo("would train"))
        yield empty


def check_one_short_line(error: UsageError, start: str = "") -> None:
    line = str(error)
    assert line.startswith(start)
    assert len(line) < 3000
    assert line.strip()
    assert error.exit_code == 2


@many
@given(whole_recipes)
def test_any_recipe_is_planned_or_refused(recipe: dict[str, Any]) -> None:
    try:
        accepted = check(recipe)
        plan(accepted)
    except UsageError as error:
        check_one_short_line(error)
    else:
        assert check(accepted.as_dict()) == accepted
        assert check(yaml.safe_load(yaml.safe_dump(accepted.as_dict()))) == accepted


@many
@given(some.dictionaries(some.one_of(some.sampled_from(KEYS), some.text()), values, max_size=3))
def test_any_change_of_a_recipe_is_planned_or_refused(changes: dict[str, Any]) -> None:
    try:
        plan(check(override({"network": {"name": "irv1"}}, changes)))
    except UsageError as error:
        check_one_short_line(error)


@many
@given(some.one_of(some.text(), some.text(alphabet="abc:{}[]&*!|>-'\" \n\t#%?,1.", max_size=60)))
def test_any_text_is_a_recipe_or_refused(text: str) -> None:
    try:
        check(parse_yaml(text, "r.yaml"), "r.yaml")
    except UsageError as error:
        check_one_short_line(error, "r.yaml: ")


@many
@given(some.binary(max_size=100))
def test_any_file_is_a_recipe_or_refused(folder: Path, content: bytes) -> None:
    path = folder / "any.yaml"
    path.write_bytes(content)
    try:
        check(read_recipe(path), str(path))
    except UsageError as error:
        check_one_short_line(error)


FLAGS = [
    "--arch", "--data", "--recipe", "--epochs", "--batch-size", "--image-size", "--lr", "--seed",
    "--precision", "--accelerator", "--devices", "--num-nodes", "--strategy", "--workers",
    "--freeze", "--val-fraction", "--stop-after", "--resume", "--output",
]  # fmt: skip
texts = some.one_of(
    words,
    some.integers().map(str),
    some.floats().map(str),
    some.text(max_size=40),
    some.text(alphabet="0123456789x²٣½-+.e", max_size=6),
    some.sampled_from(["9" * 5000, "a" * 300, "x" * 5000, "\0", "-", "--", "demo", "paper/iv4"]),
)
changes_by_flag = some.tuples(some.sampled_from(KEYS), texts).map("=".join)
flags = some.one_of(
    some.tuples(some.sampled_from(FLAGS), texts),
    some.tuples(some.just("--set"), some.one_of(changes_by_flag, texts)),
    some.tuples(texts),
)


@many
@given(some.lists(flags, max_size=4))
def test_any_flags_are_accepted_or_refused_in_one_line(chosen: list[tuple[str, ...]]) -> None:
    done = inceptcli("train", *(part for flag in chosen for part in flag))
    if done.exit_code == 0:
        assert done.stdout == "would train\n"
        return
    assert done.exit_code == 2, (done.output, done.exception)
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, done.stderr
