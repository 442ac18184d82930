from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import pytest

from inceptcli.cli.completion import complete_topic
from inceptcli.guide import pages
from inceptcli.processes.signals import REPEATED_SECONDS
from tests.cli.conftest import check_one_line, inceptcli, installed
from tests.terminal import COLOR, CONTROL, Terminal


def test_the_list_has_a_line_for_each_page() -> None:
    done = inceptcli("guide")
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert lines == [[name, pages.title(name)] for name in pages.names()]
    assert all(re.fullmatch(r"[a-z0-9-]+", name) and len(title) > 6 for name, title in lines)


@pytest.mark.parametrize("name", pages.names())
def test_without_a_terminal_a_page_is_its_markdown(name: str) -> None:
    done = inceptcli("guide", name)
    assert (done.exit_code, done.stdout, done.stderr) == (0, pages.text(name), "")


@pytest.mark.parametrize(
    ("topic", "nearest"),
    [("evaluate", "evaluation"), ("embeddings", "explain"), ("SLURM", "resume")],
)
def test_an_unknown_topic_is_told_the_nearest_pages(topic: str, nearest: str) -> None:
    check_one_line(inceptcli("guide", topic), 2, f"the guide has no page {topic}; did you mean ")
    assert nearest in pages.suggestions(topic)


def test_a_topic_like_no_page_is_told_of_the_list() -> None:
    check_one_line(inceptcli("guide", "zzz"), 2, "the guide has no page zzz; see `inceptcli guide`")


def test_the_shell_completes_topics() -> None:
    assert dict(complete_topic("fine")) == {"fine-tuning": pages.title("fine-tuning")}


def on_a_terminal(folder: Path, **environment: str) -> str:
    """What `inceptcli guide predict` shows through a pager that adds a line of its own."""
    programs = installed(folder / "programs")
    (programs / "pager").write_text("#!/bin/sh\necho paged\ncat\n")
    (programs / "pager").chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    terminal = Terminal(
        ["inceptcli", "guide", "predict"], 90, PATH=path, PAGER="pager", TERM="xterm", **environment
    )
    assert terminal.finish() == 0
    assert "inceptcli merge answers --output array.csv" in CONTROL.sub("", terminal.written)
    return terminal.written


@pytest.mark.skipif(sys.platform != "linux", reason="reads a pseudo-terminal as Linux has it")
def test_on_a_terminal_a_page_is_formatted_and_paged_without_comments(tmp_path: Path) -> None:
    shown = on_a_terminal(tmp_path)
    assert "paged" in shown
    assert "<!--" not in shown
    assert "```" not in shown
    assert COLOR.search(shown)
    (tmp_path / "plain").mkdir()
    assert not COLOR.search(on_a_terminal(tmp_path / "plain", NO_COLOR="1"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads a pseudo-terminal as Linux has it")
def test_a_pager_keeps_the_terminal_at_every_ctrl_c(tmp_path: Path) -> None:
    pager = tmp_path / "pager"
    pager.write_text('#!/bin/sh\ntrap "" INT\necho paged\nread key < /dev/tty\necho "got $key"\n')
    pager.chmod(0o755)
    terminal = Terminal(
        [sys.executable, "-m", "inceptcli", "guide", "predict"],
        90,
        PAGER=str(pager),
        MANPAGER="cat",
    )
    terminal.read_until("paged")
    for _ in range(2):
        terminal.type("\x03")
        time.sleep(REPEATED_SECONDS + 0.1)
    terminal.type("on\n")
    terminal.read_until("got on")
    assert terminal.finish() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads a pseudo-terminal as Linux has it")
def test_without_its_pager_a_page_is_printed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "inceptcli", "guide", "predict"]
    terminal = Terminal(command, 90, PAGER=str(tmp_path / "none"))
    assert terminal.finish() == 0
    assert "inceptcli merge answers --output array.csv" in CONTROL.sub("", terminal.written)
