"""What `--data` says, opened: class folders or shards, as labelled images by number. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from inceptcli.data import folders
from inceptcli.data.shards.files import class_list, find_shards, means_shards, of_split
from inceptcli.data.shards.source import ShardSource, open_shards
from inceptcli.data.sources import FolderSource, ImageSource
from inceptcli.errors import UsageError, UserError
from inceptcli.text import printable


def open_for_training(
    data: str,
    val_data: str | None,
    val_fraction: float | None,
    say: Callable[[str], None] | None = None,
) -> tuple[ImageSource, ImageSource, tuple[str, ...]]:
    """Training images, validation images, and the names of the classes that both have.

    `val_data` validates, else what `data` calls val, else `val_fraction` of the images, told apart
    by a hash of their bytes. Shards at https addresses are fetched, which `say` is told.

    Raises UsageError when `data` is nothing of the kind or nothing would validate, UserError for
    what the files hold.
    """
    if not means_shards(data):
        if val_data is not None:
            images = folders.training_or_all(Path(data))
            return (
                FolderSource(images),
                open_for_evaluation(val_data, images.classes, say),
                images.classes,
            )
        train, val = folders.training_folders(Path(data), val_fraction)
        return FolderSource(train), FolderSource(val), train.classes
    shards = find_shards(data, say)
    val_shards = of_split(shards, "val")
    train_shards = [path for path in shards if path not in set(val_shards)]
    if not train_shards:
        raise UsageError(f"--data {printable(data)}: no shards to train on, only of val")
    classes = class_list(train_shards)
    source = open_shards(train_shards, classes)
    if val_data is not None:
        return source, open_for_evaluation(val_data, classes, say), classes
    if val_shards:
        val_source = open_shards(val_shards, class_list(val_shards))
        return source, val_source.labelled_for(classes), classes
    if val_fraction is None:
        raise UsageError(
            f"--data {printable(data)}: no validation images; name shards train-* and val-*, or "
            "give --val-data or --val-fraction"
        )
    return *_split_by_content(source, val_fraction), classes


def open_for_evaluation(
    data: str, classes: Sequence[str], say: Callable[[str], None] | None = None
) -> ImageSource:
    """The images of `data`, of its val if it has one, with positions in `classes` as labels.

    Raises UsageError when `data` is nothing of the kind, UserError when a class is not among
    `classes` or there is no image.
    """
    if not means_shards(data):
        return FolderSource(folders.labelled_for(Path(data), classes))
    shards = find_shards(data, say)
    shards = of_split(shards, "val") or shards
    return open_shards(shards, class_list(shards)).labelled_for(classes)


def _split_by_content(source: ShardSource, val_fraction: float) -> tuple[ShardSource, ShardSource]:
    is_val = np.array([folders.is_val(digest, val_fraction) for digest in source.digests()])
    train, val = source.where(~is_val), source.where(is_val)
    for part, name in ((train, "training"), (val, "validation")):
        for label in sorted(set(source.labels.tolist()) - set(part.labels.tolist())):
            raise UserError(folders.empty_part(source.classes[label], name, val_fraction))
    return train, val
