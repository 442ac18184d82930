"""A bar on a terminal, plain lines elsewhere, nothing with quiet; the terminal stays usable."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from inceptcli.progress.display import Display, hush, logger, notices, silence
from tests.terminal import COLOR, HIDE_CURSOR, SHOW_CURSOR, Terminal, shown_lines

WORK = """
import logging, signal, sys, time
from inceptcli.progress import lines
from inceptcli.progress.display import Display, hush, logger, notices, silence

lines.FIRST_AFTER = 0
with notices(), Display().task("epoch 3/160", 50_000) as task:
    for done in range(0, 50_001, 1_000):
        figures = ("loss 1.234", "run 2 h 05 min left", "top-1 56%") if task.due else ()
        task.reach(done, 50_000, figures)
        time.sleep(0.03)
        if done == 30_000:
            logging.getLogger("inceptcli.x").info(
                "[red]notice[/red] of this length, :cat: " + "x" * 150
            )
    {then}
"""


def work(then: str = "pass") -> list[str]:
    return [sys.executable, "-c", WORK.format(then=then)]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_bar_is_never_wider_than_the_terminal(width: int) -> None:
    terminal = Terminal(work(), width)
    assert terminal.finish() == 0
    bars = [line for line in shown_lines(terminal.written) if "━" in line]
    assert len(bars) > 3
    assert max(map(len, bars)) <= width
    label_and_bar, *parts = re.split(r"  +|(?<=[━╸╺]) ", bars[-1].strip())
    assert re.fullmatch("epoch 3/160 [━╸╺]+", label_and_bar)
    whole = (
        r"[\d,]+/50,000" + (" images" if width >= 80 else ""),
        r"[\d,]+/s",
        r"\d+ s left",
        "loss 1.234",
        "run 2 h 05 min left",
    )
    for part, pattern in zip(parts, whole, strict=False):
        assert re.fullmatch(pattern, part)
    assert len(parts) >= 3
    assert (len(parts) == 6) == (width >= 120)


def test_a_notice_stands_on_lines_of_its_own_and_is_no_markup() -> None:
    terminal = Terminal(work(), 60)
    assert terminal.finish() == 0
    lines = shown_lines(terminal.written)
    (place,) = [number for number, line in enumerate(lines) if "notice" in line]
    assert lines[place : place + 2] == ["[red]notice[/red] of this length, :cat:", "x" * 150]


def test_a_finished_bar_leaves_nothing_and_the_cursor_is_back() -> None:
    terminal = Terminal(work(), 80)
    assert terminal.finish() == 0
    assert terminal.written.count(HIDE_CURSOR) == 1
    assert terminal.written.rindex(SHOW_CURSOR) > terminal.written.rindex(HIDE_CURSOR)
    assert terminal.written.rindex("\x1b[2K") > terminal.written.rindex("epoch 3/160")


def test_ctrl_c_leaves_a_usable_terminal() -> None:
    terminal = Terminal(work(then="print('waiting'); signal.pause()"), 80)
    terminal.read_until("waiting")
    terminal.type("\x03")
    assert terminal.finish() == -signal.SIGINT
    assert terminal.written.rindex(SHOW_CURSOR) > terminal.written.rindex(HIDE_CURSOR)
    assert "KeyboardInterrupt" in terminal.written.rpartition(SHOW_CURSOR)[2]


def test_no_color_is_honored() -> None:
    colored, plain = Terminal(work(), 80), Terminal(work(), 80, NO_COLOR="1")
    assert colored.finish() == plain.finish() == 0
    assert COLOR.search(colored.written)
    assert not COLOR.search(plain.written)
    assert "━" in plain.written


def test_a_dumb_terminal_gets_no_control_codes() -> None:
    terminal = Terminal(work(), 80, TERM="dumb")
    assert terminal.finish() == 0
    assert "\x1b" not in terminal.written
    assert "notice" in terminal.written
    assert "epoch 3/160: 0/50,000 images" in terminal.written


def test_a_log_gets_a_line_after_a_minute_and_then_every_five(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with notices(), Display().task("epoch 1/2", 36_000, done=600) as task:
        for second in range(1, 901):
            now += 1
            task.reach(600 + 20 * second, 36_000, ("loss 1.250",) if task.due else ())
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "epoch 1/2: 1,800/36,000 images, 20/s, 28 min 30 s left, loss 1.250",
        "epoch 1/2: 7,800/36,000 images, 20/s, 23 min 30 s left, loss 1.250",
        "epoch 1/2: 13,800/36,000 images, 20/s, 18 min 30 s left, loss 1.250",
    ]


def test_a_log_line_of_an_unknown_total_says_what_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with notices(), Display().task("read\x1b[2J", unit="files") as task:
        task.advance(5)
        now += 61
        task.advance(1_216)
    assert capsys.readouterr().err == "read\\x1b[2J: 1,221 files, 20/s\n"


def test_quiet_says_nothing_but_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    with notices():
        hush(True)
        logger.info("notice")
        logger.warning("two\nlines")
        with Display().task("read", 10) as task:
            task.advance(10)
            assert not task.due
    assert capsys.readouterr() == ("", "two\\nlines\n")


def test_of_several_processes_one_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    with notices():
        silence(True)
        logger.warning("notice")
    assert capsys.readouterr() == ("", "")


def test_lines_of_threads_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with notices(), ThreadPoolExecutor(8) as threads:
        list(threads.map(logger.info, ["x" * 200] * 200))
    assert capsys.readouterr().err == f"{'x' * 200}\n" * 200


LIBRARY = """
import logging
from inceptcli.progress.display import Display
from inceptcli.data.folders import class_folder

root = logging.getLogger()
print(class_folder(Path("photos")).classes, root.level, root.handlers)
with Display().task("read", 10) as task:
    task.advance(10)
logging.getLogger("inceptcli.x").warning("warned")
"""


def test_a_library_that_nobody_asked_shows_warnings_alone(tmp_path: Path) -> None:
    for name in ("cat/1.jpg", "dog/1.jpg", "dog/notes.txt"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).touch()
    done = subprocess.run(
        [sys.executable, "-c", f"from pathlib import Path{LIBRARY}"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("('cat', 'dog') 30 []\n", "warned\n")


BUSY = """
import logging, sys, threading
from inceptcli.progress import display
from inceptcli.progress.display import Display, doing, hush, notices

display.BUSY_AFTER_SECONDS = {after}
with notices():
    hush({quiet})
    with doing("loading pets"):
        for timer in threading.enumerate()[1:]:
            timer.join(600 if {after} == 0 else 0)
        logging.getLogger("inceptcli.x").warning("a notice")
    print("the result")
"""


@pytest.mark.parametrize(("after", "quiet"), [(0, False), (0, True), (600, False)])
def test_a_silent_command_says_on_a_terminal_what_it_does(after: int, quiet: bool) -> None:
    terminal = Terminal([sys.executable, "-c", BUSY.format(after=after, quiet=quiet)], 80)
    assert terminal.finish() == 0
    busy = "loading pets ...\r\x1b[2K" if after == 0 and not quiet else ""
    assert terminal.written == f"{busy}a notice\r\nthe result\r\n"


def test_elsewhere_than_on_a_terminal_no_command_says_what_it_does() -> None:
    command = [sys.executable, "-c", BUSY.format(after=0, quiet=False)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("the result\n", "a notice\n")
