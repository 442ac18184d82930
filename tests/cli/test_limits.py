"""Where a shell or job allows too little memory or too few threads, one line says so."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import NoReturn

import pytest

from tests.cli.conftest import check_one_line, inceptcli, picture


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not enforce ulimit -v")
def test_too_little_memory_for_torch_is_one_line(tmp_path: Path) -> None:
    limited = 'ulimit -v 450000; exec "$0" -m inceptcli train --output run'
    done = subprocess.run(
        ["bash", "-c", limited, sys.executable],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.stderr.splitlines()[1:] == [
        "Error: not enough memory; if the machine has more, raise the limit of the shell or job "
        "(ulimit -v)"
    ], done.stderr
    assert done.returncode == 1
    assert not (tmp_path / "run").exists()


def test_a_thread_that_cannot_start_is_one_line(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    picture(tmp_path / "photo.png", 0)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    done = inceptcli("predict", tmp_path / "photo.png", "--weights", weights, "--format", "jsonl")
    check_one_line(done, 1, "cannot start another thread; if the machine can, raise the limits")
