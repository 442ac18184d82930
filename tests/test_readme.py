"""What README says is what the program does."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from inceptcli.cli.app import app
from inceptcli.networks.registry import NETWORKS, network_options
from inceptcli.networks.summary import summarize
from inceptcli.recipe.schema import check

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def block(marker: str) -> str:
    found = re.search(rf"<!-- {marker} -->\n```\w*\n(.*?)```", README, re.DOTALL)
    assert found, f"README has no block {marker}"
    return found[1]


def commands() -> list[str]:
    """Every line or part of a line in a code block that runs the program."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    plain = [text for language, text in blocks if not language]  # those in sh are run
    parts = [part.strip() for text in plain for part in re.split(r"&&|\||\n", text)]
    return [part for part in parts if part.startswith("inceptcli ")]


def test_the_help_is_the_real_one() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).stdout
    assert block("help").strip() == shown.strip()


@pytest.mark.parametrize("command", commands())
def test_every_command_is_one_that_the_program_takes(command: str) -> None:
    _, name, *arguments = shlex.split(command)
    subcommand = get_command(app).commands[name]  # type: ignore[attr-defined]
    subcommand.make_context(name, arguments)


def test_readme_has_commands_to_check() -> None:
    assert len(commands()) >= 7


def test_the_recipe_shown_is_a_recipe() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert check(yaml.safe_load(text)).trainer.strategy == "ddp"


def test_the_table_of_networks_is_the_registry() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| ([\d,]+) \| ([\d.]+) G \|$", README, re.MULTILINE)
    assert [name for name, _, _ in rows] == list(NETWORKS)
    for name, parameters, multiply_adds in rows:
        summary = summarize(network_options(name), (299, 299))
        assert f"{summary.parameters:,}" == parameters
        assert f"{summary.multiply_adds / 1e9:.3f}" == multiply_adds


def test_the_contents_name_headings_that_exist() -> None:
    headings = re.findall(r"^#{2,3} (.*)$", README, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(#([^)]*)\)", README)
    assert len(links) >= 15
    assert set(links) <= anchors


def test_every_picture_is_there_says_what_it_shows_and_has_a_text_beside_it() -> None:
    pictures = re.findall(r'<img src="([^"]*)" width="\d+" alt="([^"]{60,})">', README)
    assert len(pictures) == README.count("<img") >= 4
    for source, _ in pictures:
        picture = ROOT / source
        assert 0 < picture.stat().st_size < 200_000
        (twin,) = (
            file for suffix in (".csv", ".txt") if (file := picture.with_suffix(suffix)).is_file()
        )
        assert len(twin.read_text().splitlines()) > 1
        assert f"({twin.relative_to(ROOT)})" in README


CREATE = """\
#!/bin/sh
mkdir "$3/bin"
for program in pip python; do
  printf '#!/bin/sh\\necho "%s $* (data: $INCEPTCLI_TEST_DATA)"\\n' $program > "$3/bin/$program"
  chmod +x "$3/bin/$program"
done
"""


@pytest.mark.parametrize("given", [True, False])
def test_ci_runs_the_test_command_of_the_readme_and_then_what_needs_data(
    given: bool, tmp_path: Path
) -> None:
    checkout, programs = tmp_path / "checkout", tmp_path / "programs"
    (checkout / ".ci").mkdir(parents=True)
    programs.mkdir()
    for name in (".ci/run", "README.md"):
        shutil.copy(ROOT / name, checkout / name)
    # Nothing is installed here: what makes the environment makes one of programs that only speak.
    for name, script in (("python3", CREATE), ("id", "#!/bin/sh\necho 1000\n")):
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    if given:
        (tmp_path / "shared/data").mkdir(parents=True)
    path = f"{programs}:{os.environ['PATH']}"
    done = subprocess.run(
        [checkout / ".ci/run"],
        env={**os.environ, "PATH": path, "INCEPTCLI_TEST_DATA": "/elsewhere"},
        cwd=tmp_path, check=True, capture_output=True, text=True,
    )  # fmt: skip
    last = (
        "python -m pytest -m given_data (data: ../shared/data)"
        if given
        else "no folder ../shared/data: the tests of given data are left out"
    )
    install, test = (shlex.split(part)[1:] for part in block("tests").split("&&")[1:])
    assert done.stdout.splitlines() == [
        f"pip {' '.join(install)} (data: )",
        f"python {' '.join(test)} (data: )",
        last,
    ]
    assert test == ["-m", "pytest"]
    assert ".[dev]" in install
