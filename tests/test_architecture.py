"""The shape of the code: tools that must be content, sizes, and the picture of it in the guide."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "inceptcli"
SUFFIXES_OF_PAGES = {".html", ".css", ".js"}
FILES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")])


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        pytest.param(("mypy",), marks=pytest.mark.system),  # half a minute without its cache
        ("codespell_lib", "inceptcli", "tests", "recipes", "README.md", "CHANGELOG.md"),
        ("importlinter.cli", "lint", "--no-cache"),
    ],
    ids=lambda command: command[0],
)
def test_the_tools_are_content(command: tuple[str, ...]) -> None:
    if command[0] == "importlinter.cli":
        run = "import sys; from importlinter.cli import lint_imports_command as c; c()"
        arguments = [sys.executable, "-c", run, "--no-cache"]
    else:
        arguments = [sys.executable, "-m", *command]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_are_files_to_check() -> None:
    assert len(FILES) > 40


def test_no_function_is_too_long() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                statements = sum(isinstance(child, ast.stmt) for child in ast.walk(node)) - 1
                assert statements <= 40, f"{path}: {node.name} has {statements} statements"


def test_no_line_of_a_style_or_script_is_too_long() -> None:
    files = [path for path in (PACKAGE / "pages").iterdir() if path.suffix in SUFFIXES_OF_PAGES]
    assert {path.suffix for path in files} == SUFFIXES_OF_PAGES
    for path in files:
        lines = path.read_text().splitlines()
        assert path.suffix == ".html" or max(map(len, lines)) <= 100, path


def test_no_room_has_a_name_that_says_nothing() -> None:
    empty = {"utils", "util", "helpers", "helper", "common", "misc", "base"}
    assert not [path for path in FILES if empty & {path.stem, path.parent.name}]


def test_a_public_name_is_defined_once() -> None:
    defined: dict[str, set[Path]] = {}
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name == "figures":  # each network has a stem, an inception_a ... of its own
            continue
        for name in _public_names(ast.parse(path.read_text())):
            if path.stem != name or path.parent.name not in ("cli", "jobs"):  # as the job
                defined.setdefault(name, set()).add(path.relative_to(PACKAGE))
    assert len(defined) > 500
    assert {name: paths for name, paths in defined.items() if len(paths) > 1} == {}


def _public_names(module: ast.Module) -> Iterator[str]:
    """Classes, functions and type aliases; of assignments those in CapWords, but no TypeVar."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign) and "TypeVar(" not in ast.unparse(node.value):
            words = [target.id for target in node.targets if isinstance(target, ast.Name)]
            names = [word for word in words if re.fullmatch("[A-Z]+[a-z]\\w*", word)]
        else:
            continue
        yield from (name for name in names if not name.startswith("_"))


ARCHITECTURE = (PACKAGE / "guide/architecture.md").read_text()


def test_the_guide_shows_every_folder_of_the_package_with_its_docstring() -> None:
    block = re.search(r"<!-- folders -->\n```\n(.*?)```", ARCHITECTURE, re.S)
    assert block
    shown = dict(line.split(maxsplit=1) for line in block[1].splitlines()[1:])
    folders = {
        f"{path.parent.relative_to(PACKAGE)}/": ast.get_docstring(ast.parse(path.read_text()))
        for path in PACKAGE.rglob("__init__.py")
        if path.parent != PACKAGE
    }
    assert {name: f"{about}." for name, about in shown.items() if name in folders} == folders
    loose = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}
    assert {name for name in shown if name not in folders} == loose


def test_the_guide_names_the_functions_of_the_two_flows() -> None:
    flows = re.search(r"<!-- flows -->\n```\n(.*?)```", ARCHITECTURE, re.S)
    assert flows
    named = re.findall(r"(\w+(?:/\w+)*\.py):(\w+)", flows[1])
    assert len(named) >= 10
    for file, function in named:
        tree = ast.parse((PACKAGE / file).read_text())
        defined = {
            node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }
        assert function in defined, f"{file} has no {function}"


def test_no_file_knows_of_a_folder_above_the_checkout() -> None:
    above = re.compile(r"shared/data|parents\[3\]|parents\[2\]\.parent")
    naming = {str(path.relative_to(ROOT)) for path in FILES if above.search(path.read_text())}
    # What INCEPTCLI_TEST_DATA is for; the one line that sets it is in .ci/run.
    assert naming == {"tests/test_architecture.py", "tests/test_readme.py"}


@pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(),
    reason="git is not installed, or this is no checkout",
)
def test_only_the_agreed_files_stand_at_the_top() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    top = {line.split("/")[0] for line in listed.splitlines()}
    agreed = {
        "pyproject.toml",
        "inceptcli",
        "tests",
        "recipes",
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
    }
    assert {name for name in top if not name.startswith(".")} == agreed
