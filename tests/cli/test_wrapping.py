"""Long lines are broken at word ends on a terminal, and stay one line elsewhere."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from inceptcli.text import fitted
from tests.cli.conftest import picture
from tests.terminal import Terminal, shown_lines

WIDTH = 40
COMMANDS = {
    "error": ["train", "--recipe", "nonsense"],
    "usage error": ["train", "--freeze", "everything but the very last layer"],
    "table": ["data", "check", "data", "--workers", "1", "--quiet"],
    "notice": ["summarize", "irv2", "--figure", "a folder whose name has many short words.svg"],
}


@pytest.mark.parametrize("kind", COMMANDS)
def test_lines_fit_a_terminal_and_are_whole_elsewhere(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog"):
        picture(Path("data", name, "1.png"), name == "cat")
    Path("data/cat/2.jpg").write_text("none")
    command = [sys.executable, "-m", "inceptcli", *COMMANDS[kind]]
    piped = subprocess.run(command, capture_output=True, text=True, check=False)
    terminal = Terminal(command, WIDTH)
    assert terminal.finish() == piped.returncode
    sentences = [
        line
        for line in (piped.stderr + piped.stdout).splitlines()
        if len(line) > WIDTH and line[0] not in "┃│┏┡├└" and not line.startswith("Usage")
    ]
    assert sentences
    shown = "\n".join(line.strip() for line in shown_lines(terminal.written))
    for line in sentences:
        indent = " " * (2 if kind == "table" else 0)
        parts = textwrap.wrap(
            line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        assert len(parts) > 1
        assert "\n".join(part.strip() for part in parts) in shown


class OnTerminal:
    """As much of a stream as `fitted` asks for."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1


def test_commands_and_long_words_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.get_terminal_size", lambda _: type("Size", (), {"columns": 20}))
    stream: object = OnTerminal()
    said = "give another name, or `inceptcli train --output a b` goes on: hf upload A B"
    assert fitted(said, stream).splitlines() == [  # type: ignore[arg-type]
        "give another name,",
        "or",
        "`inceptcli train --output a b`",
        "goes on:",
        "hf upload A B",
    ]
    path = "/a/path/that/is/longer/than/the/terminal"
    assert fitted(f"see {path} there", stream, indent=2).splitlines() == [  # type: ignore[arg-type]
        "see",
        f"  {path}",
        "  there",
    ]
