"""Whether this machine has what torch.compile needs on a CPU."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

import pytest

_HEADER = Path(sysconfig.get_path("include"), "Python.h")

needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None or not _HEADER.is_file(),
    reason="torch.compile needs a C++ compiler and Python's header files",
)
