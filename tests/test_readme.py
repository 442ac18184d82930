"""README and the pages of the guide say what the program does."""

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
from inceptcli.guide import pages
from inceptcli.networks.registry import NETWORKS, network_options
from inceptcli.networks.summary import summarize
from inceptcli.recipe.keys import recipe_keys
from inceptcli.recipe.schema import check
from tests.benchmarks import measurements
from tests.benchmarks.comparison import RESULTS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
GUIDE = {path: path.read_text() for path in sorted((ROOT / "inceptcli/guide").rglob("*.md"))}
PAGES = {ROOT / "README.md": README, **GUIDE}
TEXT = "\n".join(PAGES.values())
STUDIES = ROOT / "inceptcli/guide/studies.md"


def block(marker: str) -> str:
    found = re.findall(rf"<!-- {marker} -->\n```\w*\n(.*?)```", TEXT, re.DOTALL)
    assert len(found) == 1, f"README and guide have {len(found)} blocks {marker}"
    return str(found[0])


def commands() -> list[str]:
    """Every line or part of a line in a code block that runs the program."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    plain = [text for language, text in blocks if not language]  # those in sh are run
    parts = [part.strip() for text in plain for part in re.split(r"&&|\||\n", text)]
    return [part for part in parts if part.startswith("inceptcli ")]


def anchors(text: str) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#{1,4} (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_files_to_change_exist() -> None:
    rows = re.search(r"\| to change \| open \|\n(.*?)\n\n", TEXT, re.DOTALL)
    assert rows
    named = re.findall(r"`([\w/]+(?:/|\.py))`", rows[1])
    assert len(named) >= 15
    assert [name for name in named if not (ROOT / "inceptcli" / name).exists()] == []


def test_the_job_script_is_the_real_one() -> None:
    assert block(r"train\.sbatch") == (ROOT / "recipes/slurm/train.sbatch").read_text()


def test_the_help_is_the_real_one() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).stdout
    assert block("help").strip() == shown.strip()


@pytest.mark.parametrize("command", dict.fromkeys(commands()))
def test_every_command_is_one_that_the_program_takes(command: str) -> None:
    _, name, *arguments = shlex.split(command)
    subcommand = get_command(app).commands[name]  # type: ignore[attr-defined]
    subcommand.make_context(name, arguments)


def test_there_are_commands_and_pages_to_check() -> None:
    assert len(set(commands())) >= 40
    assert len(GUIDE) >= 15


def test_every_recipe_shown_is_a_recipe() -> None:
    recipes = re.findall(r"```yaml\n(.*?)```", TEXT.replace(GUIDE[STUDIES], ""), re.DOTALL)
    assert "ddp" in [check(yaml.safe_load(text)).trainer.strategy for text in recipes]


def test_every_key_that_is_named_is_a_key() -> None:
    keys = {name for name, *_ in recipe_keys()}
    sections = "|".join({name.split(".")[0] for name in keys})
    named = re.findall(rf"`(?:--set '?)?((?:{sections})\.(?!py\b)\w+)(?=[`:= ])", TEXT)
    assert len(set(named)) >= 15
    assert set(named) <= keys


def test_every_flag_that_is_named_is_one_of_some_command() -> None:
    commands = [get_command(app)]
    flags = {"--help"}
    for command in commands:
        commands += getattr(command, "commands", {}).values()
        flags |= {option for parameter in command.params for option in parameter.opts}
    # pip's, sbatch's, find's and those of other programs stand in code blocks.
    sentences = re.sub(r"^```.*?^```$", "", TEXT, flags=re.DOTALL | re.MULTILINE)
    named = re.findall(r"`(--[a-z][a-z-]+)(?=[ =`])", sentences)
    assert len(set(named)) >= 40
    assert set(named) <= flags


def test_the_table_of_networks_is_the_registry() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| ([\d,]+) \| ([\d.]+) G \|$", TEXT, re.MULTILINE)
    assert [name for name, _, _ in rows] == list(NETWORKS)
    for name, parameters, multiply_adds in rows:
        summary = summarize(network_options(name), (299, 299))
        assert f"{summary.parameters:,}" == parameters
        assert f"{summary.multiply_adds / 1e9:.3f}" == multiply_adds


def test_the_readme_lists_every_page_of_the_guide_with_its_title() -> None:
    rows = re.findall(
        r"^\| \[([\w-]+)\]\(inceptcli/guide/\1\.md\) \| (.*) \|$", README, re.MULTILINE
    )
    assert len(rows) == len(dict(rows))
    assert dict(rows) == {name: pages.title(name) for name in pages.names()}
    assert pages.names() == [path.stem for path in GUIDE]


@pytest.mark.parametrize("document", PAGES, ids=lambda path: path.name)
def test_every_link_leads_to_a_file_and_a_heading_that_exist(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", PAGES[document])
    for file, anchor in links:
        target = (document.parent / file).resolve() if file else document
        assert target.is_file(), file
        assert not anchor or anchor in anchors(target.read_text()), anchor


def test_every_picture_is_there_says_what_it_shows_and_has_a_text_beside_it() -> None:
    checked = 0
    for page, text in PAGES.items():
        pictures = re.findall(r'<img src="([^"]*)" width="\d+" alt="([^"]{60,})">', text)
        assert len(pictures) == text.count("<img")
        checked += len(pictures)
        for source, _ in pictures:
            picture = page.parent / source
            assert 0 < picture.stat().st_size < 200_000
            (twin,) = (
                suffix for suffix in (".csv", ".txt") if picture.with_suffix(suffix).is_file()
            )
            assert len(picture.with_suffix(twin).read_text().splitlines()) > 1
            assert f"({Path(source).with_suffix(twin)})" in text
    assert checked >= 4


def test_the_measurements_are_rendered_from_all_stored_results() -> None:
    page = measurements.PAGE.read_text()
    remedy = "run `python -m tests.benchmarks.measurements`"
    assert page == measurements.render(measurements.TEMPLATE.read_text()), remedy
    results = [path.stem for path in RESULTS.glob("*.json")]
    assert len(results) >= 10
    named = set(re.findall(r"Source: `python -m tests\.benchmarks\.(\w+)", page))
    assert {re.sub("^int8_.*", "int8", each) for each in results} == named  # one a network


def test_the_readme_quotes_the_stored_results() -> None:
    quote = measurements.render(measurements.QUOTE)
    assert " ".join(quote.split()) in " ".join(README.split())


CREATE = """\
#!/bin/sh
mkdir "$3/bin"
for program in pip python; do
  printf '#!/bin/sh\\necho "%s $* (data: $INCEPTCLI_TEST_DATA)"\\n' $program > "$3/bin/$program"
  chmod +x "$3/bin/$program"
done
"""


@pytest.mark.parametrize("given", [True, False])
def test_ci_runs_the_test_command_of_the_readme_and_then_the_other_tiers(
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
        ["python -m pytest -m train or system or given_data (data: ../shared/data)"]
        if given
        else [
            "no folder ../shared/data: the tests of given data are left out",
            "python -m pytest -m train or system (data: )",
        ]
    )
    install, test = (shlex.split(part)[1:] for part in block("tests").split("&&")[1:])
    assert done.stdout.splitlines() == [
        f"pip {' '.join(install)} (data: )",
        f"python {' '.join(test)} (data: )",
        *last,
    ]
    assert test == ["-m", "pytest"]
    assert ".[dev]" in install
