from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inceptcli.errors import UsageError
from inceptcli.networks.registry import NETWORKS
from inceptcli.recipe.file import (
    MAXIMUM_BYTES,
    bundled_folder,
    bundled_names,
    find_recipe,
    override,
    parse_yaml,
    read_recipe,
    read_with_bases,
)
from inceptcli.recipe.schema import Recipe, check
from inceptcli.training.plan import plan
from tests.cli.conftest import check_one_line, inceptcli


@pytest.mark.parametrize("name", bundled_names())
def test_every_recipe_parses_and_names_a_network(name: str) -> None:
    assert check(read_with_bases(find_recipe(name))[0], name).network.name in NETWORKS


def test_the_recipes_that_everybody_counts_on_are_there() -> None:
    assert {"demo", "scratch-small", "paper/iv4", "paper/irv1", "paper/irv2"} <= set(
        bundled_names()
    )


@pytest.mark.parametrize("path", sorted(bundled_folder().rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_recipe_says_how_to_run_it(path: Path) -> None:
    comment = [line for line in path.read_text().splitlines() if line.startswith("#")]
    command = "inceptcli study" if path.parent.name == "studies" else "inceptcli train"
    assert any(command in line for line in comment)


def test_a_resolved_recipe_can_be_trained_again() -> None:
    recipe = check(read_with_bases(find_recipe("paper/iv4"))[0])
    assert check(recipe.as_dict()) == recipe


def test_the_paper_recipes_hold_what_the_paper_states() -> None:
    for name in ("paper/iv4", "paper/irv1", "paper/irv2"):
        recipe = check(read_with_bases(find_recipe(name))[0])
        optimizer = recipe.optimizer.model_dump()
        assert (optimizer["name"], optimizer["learning_rate"]) == ("rmsprop_tf", 0.045)
        assert (optimizer["decay"], optimizer["epsilon"]) == (0.9, 1.0)
        schedule = recipe.schedule.model_dump()
        assert (schedule["multiply_by"], schedule["every_epochs"]) == (0.94, 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"trainer": {"epoch": 3}},
            "r.yaml: unknown key trainer.epoch; did you mean trainer.epochs?",
        ),
        ({"optim": {}}, "r.yaml: unknown key optim; did you mean optimizer?"),
        ({"x": {}}, "unknown key x; known: network, data, augmentation, loss, optimizer,"),
        ({"averaging": {"x": 1}}, "unknown key averaging.x; known: decay, warm_up"),
        (
            {"optimizer": {"name": "sgd", "learning_rat": 1}},
            "unknown key optimizer.learning_rat; did you mean optimizer.learning_rate?",
        ),
        ({"trainer": {"epochs": 0}}, "trainer.epochs must be greater than or equal to 1, got 0"),
        ({"trainer": {"epochs": "3"}}, "trainer.epochs must be a valid integer, got '3'"),
        ({"optimizer": {"name": "adam"}}, "optimizer.name must be one of 'adamw', 'sgd'"),
        (
            {"optimizer": {"momentum": 0.9}},
            "unknown key optimizer.momentum; known of adamw: head_learning_rate, layer_decay,",
        ),
        ({"optimizer": {"learning_rate": float("nan")}}, "optimizer.learning_rate must be"),
        ({"network": {"repeats": [1, 2]}}, "network.repeats"),
        ({"data": {"image_size": 74}}, "data.image_size must be greater than or equal to 75"),
        ({"trainer": {"stop_after": "5x"}}, "trainer.stop_after must be a duration such as 45s"),
        ({"data": 3}, "data must be a valid dictionary"),
    ],
)
def test_a_wrong_recipe_names_place_rule_and_value(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=r"r\.yaml") as caught:
        check(values, "r.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_section_may_state_a_part_of_its_keys() -> None:
    recipe = check({"optimizer": {"learning_rate": 0.5}, "schedule": {"name": "cosine"}})
    assert recipe.optimizer.name == "adamw"
    assert recipe.optimizer.learning_rate == 0.5
    assert recipe.schedule.model_dump() == {
        "name": "cosine", "warmup_epochs": 0, "warmup_factor": None
    }  # fmt: skip


def test_flags_override_a_recipe_without_changing_it() -> None:
    values = {"trainer": {"epochs": 3}}
    changed = override(values, {"trainer.seed": 1, "data.batch_size": 8})
    assert changed == {"trainer": {"epochs": 3, "seed": 1}, "data": {"batch_size": 8}}
    assert values == {"trainer": {"epochs": 3}}


@pytest.mark.parametrize("key", ["epochs", "trainer.", "trainer.a.b"])
def test_a_key_without_a_section_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match=r"section\.name"):
        override({}, {key: 1})


@pytest.mark.parametrize("text", ["a: [", "- 1", "3", "!!python/object/apply:os.getpid []"])
def test_text_that_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"r\.yaml"):
        parse_yaml(text, "r.yaml")


def test_a_recipe_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_text("# " + "x" * MAXIMUM_BYTES)
    with pytest.raises(UsageError, match="at most"):
        read_recipe(path)


def test_a_yaml_bomb_is_named_in_one_short_line() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    with pytest.raises(UsageError) as caught:
        check(parse_yaml("\n".join(lines), "r.yaml"), "r.yaml")
    assert len(str(caught.value)) < 200


def test_an_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="paper/iv4"):
        find_recipe("nonsense")


def test_a_recipe_is_found_by_path_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("trainer: {epochs: 2}")
    assert check(read_recipe(find_recipe(str(path)))) == Recipe.model_validate(
        {"trainer": {"epochs": 2}}
    )


@pytest.mark.system
@pytest.mark.parametrize("editable", [True, False], ids=["editable", "wheel"])
def test_recipes_and_pages_are_found_from_an_install(editable: bool, tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    source = ["--editable", str(root)] if editable else [str(root)]
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*install, str(target), *source], check=True, cwd=tmp_path)
    program = (
        "import site, sys; site.addsitedir(sys.argv[1]); sys.path.insert(0, sys.argv[1]);"
        "from inceptcli.recipe.schema import check; from inceptcli.recipe.file import *;"
        "print(bundled_folder(), check(read_recipe(find_recipe('demo'))));"
        "from inceptcli.prediction.outputs.gallery import Gallery;"
        "Gallery().write(sys.stdout, [], 1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(target)],
        cwd=tmp_path, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert str(root / "recipes" if editable else target) in done.stdout
    assert done.stdout.endswith("</html>")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network.repeats": [1, 65, 1]}, "network.repeats.1 must be less than or equal to 64"),
        ({"network.batch_norm_eps": 2.0}, "network.batch_norm_eps must be less than or equal to 1"),
        ({"data.std": 1e-9}, "preprocessing.std.0 must be greater than or equal to 0.000001"),
    ],
)
def test_what_a_weights_file_may_not_say_is_refused_before_training(
    changes: dict[str, Any], said: str
) -> None:
    recipe = check(override(read_recipe(find_recipe("demo")), {"network.name": "irv1", **changes}))
    with pytest.raises(UsageError, match=re.escape(said)):
        plan(recipe)


def write(folder: Path, **texts: str) -> Path:
    """Recipes NAME.yaml; the first one's path."""
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / f"{next(iter(texts))}.yaml"


def test_a_recipe_lies_over_its_base_key_by_key(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    write(tmp_path, below="{base: scratch-small, trainer: {seed: 3}, schedule: {name: cosine}}")
    mine = write(tmp_path / "mine", top="{base: ../below.yaml, data: {batch_size: 4}}")
    values, files = read_with_bases(mine)
    assert [path.name for path in files] == ["top.yaml", "below.yaml", "scratch-small.yaml"]
    expected = override(
        read_recipe(find_recipe("scratch-small")),
        {"trainer.seed": 3, "schedule": "cosine", "data.batch_size": 4},
    )
    assert check(values) == check(expected)
    assert "base" not in values


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        # Keys of another method are not the base's: 0.001 was meant for AdamW.
        ("optimizer: {name: sgd}", {"optimizer": {"name": "sgd"}}),
        ("optimizer: sgd", {"optimizer": {"name": "sgd"}}),
        ("optimizer: {name: adamw}", {"optimizer": {"learning_rate": 0.5}}),
        ("optimizer: {epsilon: 0.1}", {"optimizer": {"learning_rate": 0.5, "epsilon": 0.1}}),
        ("network: {dropout: 0.3}", {"network": {"name": "irv1", "dropout": 0.3}}),
        ("network: {name: iv4}", {"network": {"name": "iv4", "dropout": 0.0}}),
    ],
)
def test_keys_of_another_method_do_not_come_from_the_base(
    tmp_path: Path, section: str, expected: dict[str, Any]
) -> None:
    below = "{network: {name: irv1, dropout: 0.0}, optimizer: {learning_rate: 0.5}}"
    found = check(
        read_with_bases(write(tmp_path, top=f"base: below.yaml\n{section}", below=below))[0]
    )
    whole = check(
        {"network": {"name": "irv1", "dropout": 0.0}, "optimizer": {"learning_rate": 0.5}}
        | expected
    )
    assert found == whole


@pytest.mark.parametrize(
    ("recipes", "message"),
    [
        ({"a": "base: b.yaml", "b": "base: a.yaml"}, "b.yaml: base a.yaml: leads back to "),
        ({"a": "base: a.yaml"}, "a.yaml: base a.yaml: leads back to "),
        ({"a": "base: nothing"}, "a.yaml: base nothing: no such recipe or file; known: demo, "),
        ({"a": "base: 3"}, "a.yaml: base must be the name or the path of a recipe, got 3"),
        ({"a": "base:"}, "a.yaml: base must be the name or the path of a recipe, got None"),
        ({"a": "base: b.yaml", "b": "- 1"}, "b.yaml: a recipe is a mapping"),
        (
            {"a": "base: b.yaml", "b": "{base: demo, trainer: {epoch: 1}}", "c": ""},
            "b.yaml: unknown key trainer.epoch; did you mean trainer.epochs?",
        ),
        (
            {f"r{n}": f"base: r{n + 1}.yaml" for n in range(20)},
            "r10.yaml: base r11.yaml: a chain of more than 10 bases",
        ),
    ],
)
def test_a_wrong_base_is_one_line(tmp_path: Path, recipes: dict[str, str], message: str) -> None:
    done = inceptcli("train", "--recipe", write(tmp_path, **recipes), "--output", tmp_path / "run")
    check_one_line(done, 2, message)
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_train_writes_has_no_base(tmp_path: Path) -> None:
    mine = write(tmp_path, mine="{base: demo, trainer: {base: 1}}")
    with pytest.raises(UsageError, match=r"unknown key trainer\.base"):
        check(read_with_bases(mine)[0])
    with pytest.raises(UsageError, match="unknown key base"):  # as a run's recipe.yaml is read
        check({"base": "demo"})


NUMBERS = re.compile(
    r"--devices (\d+)(?: --num-nodes (\d+))?(?: --set trainer\.accumulate_batches=(\d+))?"
)


@pytest.mark.parametrize("name", bundled_names())
def test_devices_that_a_recipe_names_make_the_step_that_it_names(name: str) -> None:
    recipe = check(read_with_bases(find_recipe(name))[0])
    comment = " ".join(re.findall(r"^#(.*)", find_recipe(name).read_text(), re.MULTILINE))
    stated = re.findall(r"(\d+) images per step", comment)
    forms = NUMBERS.findall(comment)
    assert len(stated) == (1 if forms else 0)
    assert len(forms) == comment.count("--devices")
    assert bool(forms) == name.startswith(("paper/", "modern"))
    for devices, nodes, batches in forms:
        accumulated = int(batches or recipe.trainer.accumulate_batches)
        size = int(devices) * int(nodes or 1) * accumulated * recipe.data.batch_size
        assert size == int(stated[0]), (devices, nodes, batches)
