"""A dataset is the same where nothing but its place changed, and other data is told from it."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from inceptcli.data.folders import positions
from inceptcli.data.identity import DataIdentity, KeptIdentity, difference_of_data
from inceptcli.data.open_data import open_for_training
from inceptcli.data.sources import FolderSource
from inceptcli.errors import UsageError, UserError
from tests.data.class_folders import draw, pack, samples, shard

Images = list[tuple[int, bytes]]


def fill(root: Path) -> Path:
    """Three classes for train and val; each file has another size."""
    size = 1
    for split, count in (("train", 4), ("val", 2)):
        for name in ("ant", "bee", "cat"):
            for number in range(count):
                path = root / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"x" * (size := size + 1))
    return root


def identity(
    root: Path, fraction: float | None = None, kept: KeptIdentity | None = None
) -> DataIdentity:
    train, val, classes = open_for_training(str(root), None, fraction, kept=kept)
    return DataIdentity(classes, train, val)


def keep(found: DataIdentity, path: Path) -> KeptIdentity:
    found.write(path)
    return KeptIdentity(path)


def samples_of(found: DataIdentity) -> tuple[tuple[str, ...], Images, Images]:
    """All that training meets: classes, and label and bytes by number."""
    parts = []
    for source in (found.train, found.val):
        assert isinstance(source, FolderSource)
        paths, labels = source.images.paths, source.images.labels
        parts.append(
            [
                (place, path.read_bytes())
                for label, path in zip(labels, paths, strict=True)
                for place in positions(label)
            ]
        )
    return found.classes, parts[0], parts[1]


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.png") if path.is_file())


def folders(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("*/*") if path.is_dir())


def swap(one: Path, other: Path) -> None:
    if one != other:
        aside = one.with_name("aside")
        one.rename(aside)
        other.rename(one)
        aside.rename(other)


def link(root: Path, path: Path) -> None:
    """The same file somewhere else, and a link to it in its place."""
    target = root.with_name("-".join(path.relative_to(root).parts))
    if not path.is_symlink():
        path.rename(target)
        path.symlink_to(target)


Change = Callable[[Path, int, int], object]

OTHER: dict[str, Change] = {
    "rename": lambda root, a, b: image(root, a).rename(image(root, a).with_name(f"{b}-new.png")),
    "add": lambda root, a, b: (folder(root, a) / f"{b}.png").write_bytes(b"y" * 99),
    "remove": lambda root, a, b: image(root, a).unlink(),
    "exchange images": lambda root, a, b: swap(image(root, a), image(root, b)),
    "exchange classes": lambda root, a, b: swap(folder(root, a), folder(root, b)),
    "rename a class": lambda root, a, b: folder(root, a).rename(
        folder(root, a).with_name(f"dog{b}")
    ),
    "replace": lambda root, a, b: image(root, a).write_bytes(b"z" * (500 + b)),
    "into a folder": lambda root, a, b: into(image(root, a)),
}
SAME: dict[str, Change] = {
    "touch": lambda root, a, b: os.utime(image(root, a), (a, b)),
    "link": lambda root, a, b: link(root, image(root, a)),
    "a text beside": lambda root, a, b: (folder(root, a) / "notes.txt").write_text("n"),
}


def into(path: Path) -> None:
    path.parent.joinpath("inside").mkdir(exist_ok=True)
    path.rename(path.parent / "inside" / path.name)


def image(root: Path, number: int) -> Path:
    found = files(root)
    return found[number % len(found)]


def folder(root: Path, number: int) -> Path:
    found = folders(root)
    return found[number % len(found)]


def steps(changes: dict[str, Change]) -> some.SearchStrategy[list[tuple[str, int, int]]]:
    number = some.integers(0, 40)
    return some.lists(some.tuples(some.sampled_from(sorted(changes)), number, number), max_size=4)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps({**OTHER, **SAME}))
def test_changed_data_is_told_apart_or_gives_the_same_samples(
    changes: list[tuple[str, int, int]],
) -> None:
    with TemporaryDirectory() as place:
        root = fill(Path(place) / "data")
        before = identity(root)
        kept, expected = keep(before, Path(place) / "kept.gz"), samples_of(before)
        for name, a, b in changes:
            with suppress(OSError):  # a name that is there already
                {**OTHER, **SAME}[name](root, a, b)
        root = root.rename(root.with_name("moved"))
        try:
            after = identity(root)
        except (UsageError, UserError):  # such as a class of val that train lacks
            return
        said = difference_of_data(kept, after, ())
        assert said is None or (said and "\n" not in said)
        if said is None:
            assert samples_of(after) == expected
        if not {name for name, _, _ in changes} & set(OTHER):
            assert said is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda root: (root / "train/cat/3.png").unlink(),
            "1 training image gone, the first is cat/3.png",
        ),
        (
            lambda root: [(root / f"train/ant/{n}.png").write_bytes(b"") for n in (7, 8, 9)],
            "3 training images added, the first is ant/7.png",
        ),
        (
            lambda root: (root / "val/bee/1.png").write_bytes(b"more than it was" * 9),
            "1 validation image with a different size, the first is bee/1.png",
        ),
        (
            lambda root: list(map(shutil.rmtree, (root / "train/cat", root / "val/cat"))),
            "class cat gone",
        ),
        (
            lambda root: [
                (root / split / "cat").rename(root / split / "dog") for split in ("train", "val")
            ],
            "class cat gone, class dog new",
        ),
        (
            lambda root: (root / "train/ant/0.png").rename(root / "train/ant/0\n\udc80.png"),
            "1 training image gone, the first is ant/0.png; 1 training image added, the first is "
            "ant/0\\n\\udc80.png",
        ),
        (  # another image is the first one of its class
            lambda root: (root / "train/cat/0.png").rename(root / "train/cat/z.png"),
            "1 training image gone, the first is cat/0.png; 1 training image added, the first is "
            "cat/z.png",
        ),
    ],
)
def test_what_differs_is_said_in_one_line(
    tmp_path: Path, change: Callable[[Path], object], said: str
) -> None:
    root = fill(tmp_path / "data")
    kept = keep(identity(root), tmp_path / "kept.gz")
    change(root)
    assert difference_of_data(kept, identity(root), ()) == said


def test_names_that_are_not_utf8_are_kept(tmp_path: Path) -> None:
    root = fill(tmp_path / "data")
    (root / "train/ant/0.png").rename(root / "train/ant/\udc80\n.png")
    kept = keep(identity(root), tmp_path / "kept.gz")
    assert difference_of_data(kept, identity(root), ()) is None
    assert kept.images[3].name == "ant/\udc80\n.png"


def test_classes_that_changed_places_are_seen_though_all_sizes_are_the_same(tmp_path: Path) -> None:
    root = fill(tmp_path / "data")
    for number, path in enumerate(files(root)):
        path.write_bytes(bytes([number] * 500))
    kept = keep(identity(root), tmp_path / "kept.gz")
    swap(root / "train/ant", root / "train/bee")
    said = "2 training images with different content, the first is ant/0.png"
    assert difference_of_data(kept, identity(root), ()) == said


def test_only_images_that_may_change_may(tmp_path: Path) -> None:
    root = fill(tmp_path / "data")
    kept = keep(identity(root), tmp_path / "kept.gz")
    (root / "train/bee/0.png").write_bytes(b"repaired" * 20)  # number 4
    assert difference_of_data(kept, identity(root), {("train", 4)}) is None
    assert difference_of_data(kept, identity(root), {("train", 5), ("val", 4)}) is not None


def test_a_split_by_content_stays_when_an_image_is_repaired(tmp_path: Path) -> None:
    root = fill(tmp_path / "data") / "train"
    before = identity(root, 0.4)
    kept = keep(before, tmp_path / "kept.gz")
    moved = 0
    for size in range(30, 40):
        (root / "ant/0.png").write_bytes(b"r" * size)
        numbers = {(image.part, 0) for image in kept.images if image.name == "ant/0.png"}
        moved += difference_of_data(kept, identity(root, 0.4), numbers) is not None
        assert difference_of_data(kept, identity(root, 0.4, kept), numbers) is None
    assert moved  # by its content it would have changed sides


def test_shards_are_known_by_their_members(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    draw(folder / "train", 9)
    draw(folder / "val", 3, first=50)
    shard(folder, tmp_path / "one", 4)
    kept = keep(identity(tmp_path / "one"), tmp_path / "kept.gz")
    shard(folder, tmp_path / "other", 2, seed=7)  # other tar files, the same images in order
    assert difference_of_data(kept, identity(tmp_path / "other"), ()) is None
    draw(folder / "train", 10)
    shard(folder, tmp_path / "more", 4)
    said = difference_of_data(kept, identity(tmp_path / "more"), ())
    assert said is not None
    assert "training image" in said


def test_classes_of_shards_in_another_order_are_told_apart(tmp_path: Path) -> None:
    pack(tmp_path / "train-0.tar", samples(6))
    pack(tmp_path / "val-0.tar", samples(3, 6))
    kept = keep(identity(tmp_path), tmp_path / "kept.gz")
    (tmp_path / "classes.txt").write_text("bee\nant\ncat\n")
    said = "the classes are in a different order: class 0 was ant, now it is bee"
    assert difference_of_data(kept, identity(tmp_path), ()) == said


@pytest.mark.parametrize("content", [b"", b"text", gzip.compress(b"[" * 200_000), None])
def test_a_damaged_record_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    root = fill(tmp_path / "data")
    path = tmp_path / "kept.gz"
    identity(root).write(path)
    path.write_bytes(path.read_bytes()[:-20] if content is None else content)
    (root / "train/ant/0.png").unlink()
    with pytest.raises(UserError, match="so the run's training data is unknown"):
        difference_of_data(KeptIdentity(path), identity(root), ())
