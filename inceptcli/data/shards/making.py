"""Convert class folders to WebDataset shards: assign images to shards. No torch."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from inceptcli.data.folders import LabeledImages, class_folder, labeled_for
from inceptcli.data.loading.parallel import in_processes
from inceptcli.data.shards.index import BLOCK, index_path
from inceptcli.data.shards.writer import (
    ImageToWrite,
    ShardToWrite,
    UnreadableFile,
    Written,
    write_shard,
)
from inceptcli.data.splits import folders_in_words, other_folders, split_folders, split_named
from inceptcli.errors import UsageError
from inceptcli.files.atomic_file import replacing
from inceptcli.files.file_lock import lock
from inceptcli.files.no_follow import open_no_follow

logger = logging.getLogger(__name__)

LAYOUT = re.compile(r"[^%]*%(0\d)?d[^%]*\.tar")


@dataclass(frozen=True)
class Sharded:
    """The classes of a folder and the shards written from it."""

    classes: tuple[str, ...]
    shards: tuple[Written, ...]

    @property
    def left_out(self) -> list[UnreadableFile]:
        """The unreadable files, which are in no shard."""
        return [entry for shard in self.shards for entry in shard.left_out]


def shard_folder(
    root: Path,
    output: str,
    shard_bytes: int,
    shard_images: int | None,
    seed: int,
    workers: int | None,
    progress: Callable[[int, int], None],
) -> Sharded:
    """Write the images in the class folders of `root`, or of its splits, as tar shards.

    Existing shards made from the same files are kept.

    Args:
        root: Folder of class folders, or of train/, val/ and test/ with class folders.
        output: Folder, or a pattern such as out/train-%06d.tar if there is only one split.
        shard_bytes: Maximum size of a shard; a single larger image gets a shard of its own.
        shard_images: Maximum number of images per shard; None for no limit.
        seed: Seed of the shuffle; val and test keep their order.
        workers: Number of processes; None for one per usable core.
        progress: Called with the number of finished images and the total.

    Raises:
        UsageError: `root` is a file or has no class folders, `output` does not fit it or holds
            other shards, or another process writes it.
        UserError: a class is empty, a file cannot be written or does not read back as written.
    """
    if root.is_file():
        raise UsageError(
            f"{root}: shards are made of class folders, with one label per image; "
            "train on the CSV file itself"
        )
    splits = _splits(root)
    patterns = _patterns(output, root, list(splits))
    classes = next(iter(splits.values())).classes
    tasks: list[ShardToWrite] = []
    for split, images in splits.items():
        entries = _ordered(root, images, seed, shuffled=split not in ("val", "test"))
        groups = _groups(root, entries, shard_bytes, shard_images)
        shards = [Path(patterns[split] % number) for number in range(len(groups))]
        _check_others(patterns[split], shards)
        tasks += [
            ShardToWrite(shard, root, group, classes)
            for shard, group in zip(shards, groups, strict=True)
        ]
    _check_not_read(tasks)
    with _alone(patterns.values()):
        _write_classes(tasks[0].shard.parent, classes)
        written: list[Written] = []
        total, done = sum(len(task.entries) for task in tasks), 0
        for result in in_processes(write_shard, tasks, workers):
            done += len(tasks[len(written)].entries)
            written.append(result)
            progress(done, total)
    return Sharded(classes, tuple(written))


@contextmanager
def _alone(patterns: Iterable[str]) -> Iterator[None]:
    """Lock the shards of each pattern; raise UsageError if another process writes them."""
    with ExitStack() as stack:
        for pattern in patterns:
            first = Path(pattern % 0)
            try:
                first.parent.mkdir(parents=True, exist_ok=True)
                path = first.with_name(f".{first.name}.lock")
                lock(stack.enter_context(open_no_follow(path, "ab")))
                stack.callback(path.unlink, missing_ok=True)
            except BlockingIOError as error:
                raise UsageError(f"--output {first}: another process is writing it") from error
            except OSError as error:
                raise UsageError(
                    f"--output {first}: cannot be written: {error.strerror}"
                ) from error
        yield


def _splits(root: Path) -> dict[str, LabeledImages]:
    folders = split_folders(root)
    if not folders:
        return {split_named(root.absolute().name) or "images": class_folder(root)}
    if "train" not in folders:
        raise UsageError(
            f"{root}: has {folders_in_words(list(folders.values()))} but no "
            "train/, which defines the classes; shard them one by one"
        )
    if others := other_folders(root, folders):
        logger.info(f"{root}: {folders_in_words(others)} left out, neither a split nor a class")
    train = class_folder(folders.pop("train"), folders.values())
    splits: dict[str, LabeledImages] = {"train": train}
    for split, folder in folders.items():
        splits[split] = labeled_for(folder, train.classes)
    return splits


def _patterns(output: str, root: Path, splits: Sequence[str]) -> dict[str, str]:
    if Path(os.path.realpath(output)).is_relative_to(root.resolve()):
        raise UsageError(f"--output {output}: must lie outside {root}")
    if "%" not in output and not output.endswith(".tar"):
        return {split: f"{output}/{split}-%06d.tar" for split in splits}
    if not LAYOUT.fullmatch(output) or "%" in str(Path(output).parent):
        raise UsageError(
            f"--output {output}: must be a folder or a pattern such as out/train-%06d.tar"
        )
    if len(splits) > 1:
        raise UsageError(
            f"--output {output}: {root} has {folders_in_words([Path(split) for split in splits])}, "
            "so give a folder, or shard them one by one"
        )
    return {splits[0]: output}


def _ordered(root: Path, images: LabeledImages, seed: int, *, shuffled: bool) -> list[ImageToWrite]:
    entries = [
        ImageToWrite(position, str(path.relative_to(root)), label)
        for position, (path, label) in enumerate(zip(images.paths, images.labels, strict=True))
        if isinstance(label, int)  # as of class folders
    ]
    if shuffled:  # by a hash, which is stable across versions of random generators
        entries.sort(key=lambda entry: hashlib.sha256(f"{seed} {entry.position}".encode()).digest())
    return entries


def _groups(
    root: Path, entries: Sequence[ImageToWrite], shard_bytes: int, shard_images: int | None
) -> list[tuple[ImageToWrite, ...]]:
    groups: list[list[ImageToWrite]] = []
    room = 0
    for entry in entries:
        needed = _bytes_in_tar(root / entry.path)
        if not groups or needed > room or len(groups[-1]) == shard_images:
            groups.append([])
            room = shard_bytes - tarfile.RECORDSIZE  # reserve room for the end mark
        groups[-1].append(entry)
        room -= needed
    return [tuple(group) for group in groups]


def _bytes_in_tar(path: Path) -> int:
    try:
        size = path.stat().st_size
    except OSError:  # reported and left out when it is read
        return 0
    return -(-size // BLOCK) * BLOCK + 3 * BLOCK  # two headers, and the label's block


def _check_others(pattern: str, shards: Sequence[Path]) -> None:
    before, _, after = Path(pattern).name.partition("%")
    name = re.compile(re.escape(before) + r"\d+" + re.escape(after.partition("d")[2]))
    folder = Path(pattern).parent
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in there:
        if name.fullmatch(path.name) and path not in shards:
            raise UsageError(
                f"{path}: not one of the {len(shards)} shards to be written; "
                "remove the old shards, or give another --output"
            )


def _check_not_read(tasks: Sequence[ShardToWrite]) -> None:
    """Raise UsageError if an output file is one of the images, perhaps through a link."""
    classes = tasks[0].shard.parent / "classes.json"
    written = (file for task in tasks for file in (task.shard, index_path(task.shard)))
    there = {_identity(file): file for file in (classes, *written) if file.exists()}
    for task in tasks if there else []:
        for entry in task.entries:
            if (file := there.get(_identity(task.root / entry.path))) is not None:
                raise UsageError(
                    f"--output {file}: is also the input "
                    f"{task.root / entry.path}; give another --output"
                )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:  # reported when the file is read
        return None
    return status.st_dev, status.st_ino


def _write_classes(folder: Path, classes: tuple[str, ...]) -> None:
    """Write the class list of the folder; raise UsageError if a different one exists."""
    path = folder / "classes.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(classes, indent=0))
        same = json.loads(path.read_bytes()) == list(classes)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
    except (ValueError, RecursionError):
        same = False
    if not same:
        raise UsageError(
            f"{path}: lists different classes than the {len(classes)} here; give another --output"
        )
