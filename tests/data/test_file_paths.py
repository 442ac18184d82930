"""A compact sequence of paths is the paths, whatever their names."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inceptcli.data.file_paths import FilePaths
from inceptcli.data.folders import find_images

names = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=8)
odd_bytes = st.binary(min_size=1, max_size=4).map(lambda b: os.fsdecode(b.translate(None, b"/\0")))
texts = st.lists(names | odd_bytes, min_size=1, max_size=4).map("/".join)
paths = st.lists(st.builds(Path, texts | texts.map("/{}".format)), max_size=20)


@given(paths, st.data())
def test_paths_are_those_given(given_paths: list[Path], data: st.DataObject) -> None:
    compact = FilePaths.of(given_paths)
    assert list(compact) == given_paths == [compact[index] for index in range(len(compact))]
    assert list(map(Path, compact.texts())) == given_paths
    chosen = np.array([data.draw(st.booleans()) for _ in given_paths], bool)
    left = [path for path, is_chosen in zip(given_paths, chosen, strict=True) if is_chosen]
    assert list(compact.where(chosen)) == left
    assert list(FilePaths.joined([compact.where(chosen), compact[3:]])) == left + given_paths[3:]
    assert FilePaths.joined([]) == ()


def test_images_below_a_folder_are_sorted_by_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = (
        "a-b.jpg",
        "a.jpg",
        "a/2.jpg",
        "a/1.jpg",
        "a/b/3.jpg",
        "a/b.jpg",
        "b",
        "c.jpg",
        "ä.jpg",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\xff\xd8\xff")
    (tmp_path / os.fsdecode(b"\xff.jpg")).touch()
    expected = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert list(find_images(tmp_path)) == expected
    monkeypatch.chdir(tmp_path)
    assert list(find_images(Path())) == [path.relative_to(tmp_path) for path in expected]
