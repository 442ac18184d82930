"""A function mapped over items in several processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

TWICE = """
import os, signal, sys
from pathlib import Path
from inceptcli.data.loading.parallel import _leave_signals
from inceptcli.files.atomic_file import replacing

def signaled() -> None:
    os.kill(os.getpid(), signal.SIGTERM)

again, unlink = iter([signaled]), Path.unlink

def removed(path: Path, missing_ok: bool = False) -> None:
    next(again, lambda: None)()  # the second signal comes before the file is removed
    unlink(path, missing_ok)

_leave_signals()
Path.unlink = removed
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    signaled()
"""


def test_a_worker_that_is_terminated_twice_leaves_no_unfinished_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWICE, str(tmp_path / "shard.tar")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, "")
    assert not list(tmp_path.iterdir())
