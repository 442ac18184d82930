from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.class_folders import draw


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """data/, with 23 pictures in the class folders of train/ and 7 in those of val/."""
    draw(tmp_path / "data/train", 23)
    draw(tmp_path / "data/val", 7, first=100)
    return tmp_path / "data"
