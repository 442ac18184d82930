"""A program on a pseudo-terminal of a given width, and what it wrote there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Sequence

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOR = re.compile(r"\x1b\[[0-9;]*(?:3[0-8]|4[0-8]|9[0-7])[0-9;]*m")


class Terminal:
    """Runs `command` with its three streams on a terminal of `width` columns and 40 lines."""

    def __init__(self, command: Sequence[str], width: int, **environment: str) -> None:
        self._main, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
        self.process = subprocess.Popen(
            command,
            stdin=side,
            stdout=side,
            stderr=side,
            env={**without_size(), "TERM": "xterm-256color", **environment},
            preexec_fn=_own_terminal,
        )
        os.close(side)
        self.written = ""

    def type(self, keys: str) -> None:
        """Press keys; \\x03 is Ctrl-C, which the terminal turns into SIGINT."""
        os.write(self._main, keys.encode())

    def read_until(self, text: str, seconds: float = 600) -> str:
        """What was written since the last call, up to where `text` has appeared."""
        start, deadline = len(self.written), time.monotonic() + seconds
        while text not in self.written[start:]:
            assert time.monotonic() < deadline, f"no {text!r} in {self.written[start:]!r}"
            assert self._read(), f"the program ended without {text!r}: {self.written!r}"
        return self.written[start:]

    def close(self) -> None:
        """Close the window: the programs in it get SIGHUP, and nobody reads what they write."""
        os.close(self._main)

    def finish(self) -> int:
        """Read to the end; the exit code."""
        while self._read():
            pass
        os.close(self._main)
        return self.process.wait(600)

    def _read(self) -> bool:
        if not select.select([self._main], [], [], 1)[0]:
            return self.process.poll() is None
        try:
            chunk = os.read(self._main, 65536)
        except OSError:  # Linux says so when the last program has left the terminal
            return False
        self.written += chunk.decode(errors="replace")
        return bool(chunk)


def without_size() -> dict[str, str]:
    """The environment without what would overrule the terminal's own size."""
    return {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}


def _own_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def shown_lines(written: str) -> list[str]:
    """Each line as it stood there once, without control codes."""
    return [line for line in re.split(r"[\r\n]+", CONTROL.sub("", written)) if line.strip()]
