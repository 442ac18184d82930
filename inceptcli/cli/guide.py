"""`inceptcli guide`: show the documentation in the terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from shutil import which
from typing import Annotated

from typer import Argument, echo

from inceptcli.cli.completion import complete_topic, topics
from inceptcli.cli.interruption import interrupts_left
from inceptcli.errors import UsageError
from inceptcli.guide import pages

EPILOG = """Examples:

\b
  inceptcli guide
  inceptcli guide fine-tuning
  inceptcli guide evaluation > evaluation.md
"""

# For less: keep colors, quit at once if the page fits the screen, and leave it on the screen.
PAGER_FLAGS = "-FRX"
WIDEST = 100
NO_PROGRAM = (126, 127)
"""Exit codes of a shell that cannot run a command."""


def guide(
    topic: Annotated[
        str | None,
        Argument(
            autocompletion=complete_topic,
            help="Page to show; default: the list of pages.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show a page of the documentation.

    On a terminal, the page is formatted and shown in a pager (PAGER). Otherwise it is printed as
    Markdown.
    """
    if topic is None:
        widest = max(map(len, pages.names()))
        for name in topics():
            echo(f"{name.name:<{widest}}  {name.about}")
        return
    if topic not in pages.names():
        found = pages.suggestions(topic)
        nearest = f"did you mean {', '.join(found)}?" if found else "see `inceptcli guide`"
        raise UsageError(f"the guide has no page {topic}; {nearest}")
    if sys.stdout.isatty():
        show(pages.text(topic))
    else:
        echo(pages.text(topic), nl=False)


def show(text: str) -> None:
    """Format Markdown for the terminal and show it in a pager."""
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.theme import Theme

    os.environ.setdefault("LESS", PAGER_FLAGS)
    console = Console(theme=Theme({"markdown.code": "cyan"}))  # Rich's has a black background
    console.width = min(console.width, WIDEST)
    text = re.sub(r"\[([^]]*)\]\(\.\./[^)]*\)", r"\1", text)  # links to files outside the package
    with console.capture() as formatted:
        console.print(Markdown(text, hyperlinks=False, code_theme="ansi_dark"))
    _page(formatted.get())


def _page(text: str) -> None:
    """Show text in PAGER or less; print it where neither can run, or on a dumb terminal."""
    pager = os.environ.get("PAGER") or which("less") or which("more")
    if pager and os.environ.get("TERM") not in ("dumb", "emacs"):
        with interrupts_left():
            code = subprocess.run(pager, shell=True, input=text.encode(), check=False).returncode
        if code not in NO_PROGRAM:
            return
    echo(text, nl=False)
