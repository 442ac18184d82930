"""Class folders of small pictures, shards of them, and tar files made by hand."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from inceptcli.data.shards.making import Sharded, shard_folder

CLASSES = ("ant", "bee", "cat")


def png(seed: int, side: int = 8) -> bytes:
    """A picture of noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (side, side + 1, 3)).astype(np.uint8)
    file = BytesIO()
    Image.fromarray(noise).save(file, "png")
    return file.getvalue()


def draw(root: Path, count: int, first: int = 0, side: int = 8) -> Path:
    """`count` pictures, no two equal, in the folders of CLASSES."""
    for number in range(count):
        path = root / CLASSES[number % len(CLASSES)] / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(first + number, side))
    return root


def shard(
    root: Path,
    output: Path | str,
    count: int | None = 4,
    *,
    size: int = 10**9,
    seed: int = 0,
    workers: int = 1,
) -> Sharded:
    """As `data shard`, at most `count` images in a shard."""
    return shard_folder(root, str(output), size, count, seed, workers, lambda done, total: None)


def contents(folder: Path) -> dict[str, bytes]:
    """What each file of a folder holds."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def pack(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    """A tar file; classes.txt beside it lists CLASSES."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, BytesIO(content))
    (path.parent / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    return path


def samples(count: int, first: int = 0) -> list[tuple[str, bytes]]:
    """Members of `count` samples whose labels take turns."""
    members = []
    for number in range(first, first + count):
        members += [
            (f"{number:04}.png", png(number)),
            (f"{number:04}.cls", str(number % len(CLASSES)).encode()),
        ]
    return members
