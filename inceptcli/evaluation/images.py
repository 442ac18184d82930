"""Find the images that `eval` measures: the run's own validation images, or those of --data."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from inceptcli.data.accepted_labels import relabeled
from inceptcli.data.exclusion import exclude as leave_out
from inceptcli.data.folders import LabeledImages, find_images, subfolders
from inceptcli.data.identity import KeptIdentity, images_sha256
from inceptcli.data.label_files import (
    KAGGLE_LABELS,
    SYNSET,
    evaluation_images,
    groups_in_csv,
    images_in_remote_csv,
    is_remote_list,
    lacks_labels,
    lists_images,
)
from inceptcli.data.open_data import (
    Measured,
    Place,
    TrainedOn,
    lists_data_of,
    open_for_evaluation,
    open_split,
    part_by_fraction,
    places_of,
    training_places,
    validating_places,
    validation_places,
)
from inceptcli.data.pixels.shapes import CLASSES, Shapes
from inceptcli.data.recorded_images import RecordedImages
from inceptcli.data.selected_images import SelectedImages, of_classes
from inceptcli.data.shards.files import means_shards
from inceptcli.data.shards.source import ShardSource
from inceptcli.data.sources import FolderSource, ImageSource
from inceptcli.data.splits import split_folders, split_named
from inceptcli.errors import UsageError, UserError
from inceptcli.files.remote.address import redacted
from inceptcli.recipe.schema import Recipe, check
from inceptcli.text import composed
from inceptcli.weights.metadata import ClassName, WeightsMetadata

logger = logging.getLogger(__name__)

IMAGENET_CLASSES = 1000
DATA = "data.jsonl.gz"
"""The record of a run's images, beside its weights."""

NUMBER = re.compile("[0-9]{1,3}")


class Wanted(NamedTuple):
    """Values of the flags --data, --split, --exclude, --allow-outside and --labels.

    With `submission`, ILSVRC's images may lack labels.
    """

    data: str | None
    split: Measured | None = None
    exclude: Path | None = None
    allow_outside: bool = False
    labels: Path | None = None
    submission: bool = False


class MeasuredImages(NamedTuple):
    """Images to measure, with a description, the number excluded, and notes for people.

    `val_fraction` is the fraction that split them from the training images, if any. `read` has the
    files that list them. `group_of` has the group of each image by name, if there are groups.
    `trained_on` are the notes that a network was trained on some of them. With --labels,
    `unlabeled` is the number of images left out without a label; with a subset of the classes,
    `of_other_classes` is that of the images of others. Without `has_labels`, all labels are 0.
    """

    source: ImageSource
    data: str
    split: Measured
    excluded: int = 0
    notes: tuple[str, ...] = ()
    val_fraction: float | None = None
    read: tuple[Path, ...] = ()
    group_of: Mapping[str, str] | None = None
    trained_on: tuple[str, ...] = ()
    unlabeled: int | None = None
    of_other_classes: int | None = None
    has_labels: bool = True

    @property
    def sha256(self) -> str | None:
        """A hash of the image files from which any were selected; None for drawn or remote ones."""
        source = _whole(self.source)
        return images_sha256(source) if isinstance(source, FolderSource | ShardSource) else None

    def with_labels(self, file: Path, classes: Sequence[ClassName]) -> MeasuredImages:
        """Return the images with the accepted labels in `file`; raises as `relabeled`."""
        ids, names = zip(*classes, strict=True)
        found = relabeled(self.source, file, ids, names, self.data)
        return self._replace(
            source=found.images,
            notes=(*self.notes, *found.notes),
            read=(*self.read, file),
            unlabeled=found.unlabeled,
        )

    def of_classes(self, file: Path, subset: Sequence[int]) -> MeasuredImages:
        """Return only the images of the classes in `file`, at the positions `subset`.

        Raises UserError if there are none.
        """
        total, source = len(self.source), of_classes(self.source, subset)
        what = f"{total - len(source)} of {total} images are of other classes than {file} lists"
        if not len(source):
            raise UserError(f"{redacted(self.data)}: {what}; there is nothing to measure")
        notes = (f"{what}, and are left out",) if len(source) < total else ()
        return self._replace(
            source=source,
            notes=(*self.notes, *notes),
            read=(*self.read, file),
            of_other_classes=total - len(source),
        )


def images_to_measure(
    wanted: Wanted, weights: Sequence[tuple[Path, WeightsMetadata]], group: str | None = None
) -> MeasuredImages:
    """Find the images, labeled with the classes of the first of `weights`.

    Without --data, use the validation images of the first run, according to its recipe: drawn
    shapes, val/, data.val_path, or the fraction data.val_fraction, without those that data.exclude
    lists. Data without a validation split is split by this fraction, too.

    Args:
        wanted: Values of the flags.
        weights: Weights files and their metadata.
        group: Column of a CSV file of labels with the group of each image.

    Raises UsageError if there are no such images, UserError if they do not match the classes.
    """
    file, metadata = weights[0]
    for path, member in weights:
        if not member.has_classifier:
            raise UsageError(
                f"{path}: has no trained classifier, only embeddings; there is nothing to measure"
            )
    recipe = _recipe(metadata)
    if wanted.data is None:
        found = _own(wanted, file, metadata, recipe)
    else:
        found = _given(wanted, wanted.data, weights[0], recipe, group)
    if group is not None and found.group_of is None:
        raise UsageError(
            f"--group {group}: is a column of a CSV file of path,label; give one as --data"
        )
    if exclude := wanted.exclude or _own_exclusion(wanted, found, file, recipe):
        found = _without(found, exclude)
        if wanted.exclude is None and (note := _changed(found, exclude, file)):
            found = found._replace(notes=(*found.notes, note))
    return found if wanted.labels is None else found.with_labels(wanted.labels, metadata.classes)


def with_notes_of_training(
    found: MeasuredImages, weights: Sequence[tuple[Path, WeightsMetadata]]
) -> MeasuredImages:
    """Add a note for each of `weights` that was trained on some of the images."""
    notes = [
        note
        for file, metadata in weights
        if (recipe := _recipe(metadata)) and (note := _trained_on(file, metadata, recipe, found))
    ]
    return found._replace(notes=(*found.notes, *notes), trained_on=tuple(notes))


def _recipe(metadata: WeightsMetadata) -> Recipe | None:
    try:
        return None if metadata.recipe is None else check(metadata.recipe)
    except UsageError:  # a recipe of another version only documents the run
        return None


def _own(
    wanted: Wanted, file: Path, metadata: WeightsMetadata, recipe: Recipe | None
) -> MeasuredImages:
    ids = [entry.id for entry in metadata.classes]
    if recipe is None:
        raise UsageError(f"{file}: does not record its training images; give --data")
    data, split = recipe.data, wanted.split or "val"
    if data.path is None:
        if tuple(ids) != CLASSES or split not in ("train", "val"):
            raise UsageError(f"{file}: has no {split} images of `shapes`; give --data FOLDER")
        size, seed = data.height_and_width, recipe.trainer.seed
        count = data.train_size if split == "train" else data.val_size
        shapes = Shapes(seed, count, size, split, data.shapes == "pairs")
        return MeasuredImages(shapes, "shapes", split)
    if data.val_path is not None and split == "val":
        _check_there(data.val_path, "validated", file)
        val = open_for_evaluation(data.val_path, ids, allow_unlabeled=data.allow_unlabeled)
        return MeasuredImages(val, data.val_path, "val", read=_lists(data.val_path))
    _check_there(data.path, "trained", file)
    return _split(data.path, ids, split, recipe, file)


def _split(
    data: str, ids: Sequence[str], split: Measured | None, recipe: Recipe | None, weights: Path
) -> MeasuredImages:
    trained = None
    if recipe is not None:
        needs_record = recipe.data.val_fraction and _is_elsewhere(data, recipe.data.path)
        trained = _trained(recipe, weights if needs_record else None)
    chosen = open_split(data, ids, split, trained)
    fraction = chosen.val_fraction
    return MeasuredImages(chosen.source, data, chosen.split, 0, (), fraction, _lists(data))


def _lists(data: str) -> tuple[Path, ...]:
    return (Path(data),) if Path(data).is_file() else ()


def _by_folder(data: str, ids: Sequence[str], names: Sequence[str]) -> Sequence[str]:
    """Return the ids, with folder names in place of the ids of classes named differently on disk.

    Folders may be named by class name, ignoring case and with _ for a space, if every name belongs
    to one class. They may be numbered from 0 if there is a folder 0 and the classes are a thousand
    synsets, whose order is standard. Both apply only if no folder is named by an id and all folders
    are recognized.
    """
    if means_shards(data) or not Path(data).is_dir():
        return ids
    roots = split_folders(Path(data)).values() or [Path(data)]
    folders = {composed(folder.name) for root in roots for folder in subfolders(root)}
    if not folders or folders & {*map(composed, ids)}:
        return ids
    plain = [_plain(name) for name in names]
    if len({*plain}) == len(plain) and {_plain(folder) for folder in folders} <= {*plain}:
        label_of = {folder: plain.index(_plain(folder)) for folder in folders}
        how = "names"
    elif len(ids) == IMAGENET_CLASSES and all(map(SYNSET.fullmatch, ids)):
        label_of = _numbered(folders)
        how = "numbers from 0, in the order of the synsets"
    else:
        return ids
    if len({*label_of.values()}) < len(folders):
        return ids
    folder_of = {label: folder for folder, label in label_of.items()}
    logger.info(f"{data}: folder names were read as class {how}")
    return [folder_of.get(label, name) for label, name in enumerate(ids)]


def _plain(name: str) -> str:
    return composed(name.replace("_", " ")).casefold()


def _numbered(folders: Iterable[str]) -> dict[str, int]:
    """Return labels of folders named 0 to 999; none unless all are numbers and 0 is among them."""
    numbers = {folder: int(folder) for folder in folders if NUMBER.fullmatch(folder)}
    return numbers if 0 in numbers.values() and len(numbers) == len({*folders}) else {}


def _trained(recipe: Recipe, weights: Path | None = None) -> TrainedOn | None:
    """Return the data of a run; with its `weights`, also the record beside them, if it is there."""
    data = recipe.data
    if data.path is None:
        return None
    record = None
    if weights is not None:
        with suppress(UserError):  # missing or damaged
            record = RecordedImages(weights.resolve().parent / DATA)
    return TrainedOn(
        data.path, data.val_path, data.val_fraction, data.allow_unlabeled, data.exclude, record
    )


def _check_there(data: str, what: str, file: Path) -> None:
    if not Path(data).exists() and not means_shards(data):
        raise UsageError(
            f"{file}: {what} on {data}, which is not in {Path.cwd()}; give its present "
            "path as --data"
        )


def _given(
    wanted: Wanted,
    data: str,
    weights: tuple[Path, WeightsMetadata],
    recipe: Recipe | None,
    group: str | None,
) -> MeasuredImages:
    file, metadata = weights
    ids, names = zip(*metadata.classes, strict=True)
    if Path(data).is_dir() and not means_shards(data):
        if wanted.labels is not None:
            return _in_folder(data, ids, wanted.split)
        if wanted.submission and (unlabeled := _without_labels(data, ids, wanted.split)):
            return unlabeled
    if not is_remote_list(data) and (means_shards(data) or not lists_images(Path(data))):
        if metadata.unnamed:
            raise UsageError(
                f"{file}: its {len(ids)} classes are unnamed, so no folder can be matched to them; "
                "import it again with --classes FILE|FOLDER, or give a CSV file of path,class_index"
            )
        return _split(data, _by_folder(data, ids, names), wanted.split, recipe, file)
    options: dict[str, Any] = {
        "allow_outside": wanted.allow_outside,
        "allow_unlabeled": recipe is not None and recipe.data.allow_unlabeled,
        "group": group,
    }
    split: Measured = "val" if Path(data).is_dir() else "all"
    source: ImageSource
    notes: tuple[str, ...] = ()
    read: tuple[Path, ...] = ()
    if is_remote_list(data):
        source = images_in_remote_csv(data, ids, names, **options)
    else:
        images, notes, read = evaluation_images(Path(data), ids, names, **options)
        source = FolderSource(images)
    group_of = None if group is None else _groups(data, source, group)
    fraction = None if recipe is None else recipe.data.val_fraction
    if fraction and isinstance(source, FolderSource) and wanted.split != "all":
        assert recipe is not None
        trained = _trained(recipe, file)
        if wanted.split != "test" and trained and lists_data_of(trained, data, source):
            chosen = part_by_fraction(source, data, wanted.split, fraction)
            return MeasuredImages(
                chosen.source, data, chosen.split, 0, notes, fraction, read, group_of
            )
    if wanted.split not in (None, split):
        raise UsageError(f"--split {wanted.split}: {redacted(data)} is a list of {split} images")
    if metadata.unnamed:
        count = f"{file}: its {len(ids)} classes are unnamed"
        notes = (*notes, f"{count}; labels were read as row numbers of the classifier")
    return MeasuredImages(source, redacted(data), split, notes=notes, read=read, group_of=group_of)


def _in_folder(data: str, ids: Sequence[str], split: Measured | None) -> MeasuredImages:
    """Return all images in a folder or in its split, whose labels another file has."""
    whole: Measured = split_named(Path(data).absolute().name) or "all"
    whole = "val" if lists_images(Path(data)) else whole
    folders: dict[Measured, Path] = dict(split_folders(Path(data)).items()) or {whole: Path(data)}
    chosen = split or ("val" if "val" in folders else next(iter(folders)))
    if chosen not in folders:
        raise UsageError(
            f"--split {chosen}: {data} has {' and '.join(folders)}; give --split "
            f"{' or '.join(folders)}"
        )
    paths = find_images(folders[chosen])
    if not paths:
        raise UserError(f"{folders[chosen]}: no images")
    images = LabeledImages(tuple(ids), paths, (0,) * len(paths), folders[chosen])
    return MeasuredImages(FolderSource(images), data, chosen)


def _without_labels(data: str, ids: Sequence[str], split: Measured | None) -> MeasuredImages | None:
    """Return ILSVRC's images in one folder without labels; None for any other folder."""
    found = _in_folder(data, ids, split)
    assert isinstance(found.source, FolderSource)
    folder, *others = {path.parent for path in found.source.images.paths}
    is_flat = not others and folder.name not in ids and lacks_labels(folder)
    return found._replace(has_labels=False) if is_flat else None


def _own_exclusion(
    wanted: Wanted, found: MeasuredImages, file: Path, recipe: Recipe | None
) -> Path | None:
    """Return the list of images that the run left out of its validation, if these are measured."""
    own = recipe.data.exclude if recipe and wanted.data is None and found.split == "val" else None
    if own is not None and not Path(own).exists():
        raise UsageError(
            f"{file}: validated without the images listed in {own}, which is not in "
            f"{Path.cwd()}; give its present path as --exclude"
        )
    return None if own is None else Path(own)


def _changed(found: MeasuredImages, exclude: Path, file: Path) -> str | None:
    """Return a note if the run, where its record is there, validated on other images."""
    record = file.parent / DATA
    if not record.is_file() or not isinstance(found.source, FolderSource):
        return None
    then = {image.name for image in KeptIdentity(record).images if image.part == "val"}
    now = set(found.source.names())
    if then == now:
        return None
    return (
        f"{exclude}: the list, or the data, has changed since {file} was trained: "
        f"{len(now - then)} of these {len(now)} images are not among the {len(then)} on which it "
        f"validated, and {len(then - now)} of those are left out"
    )


def _groups(data: str, source: ImageSource, column: str) -> dict[str, str] | None:
    """Return the group of each listed image by name; None for a list that is no CSV file."""
    is_csv = Path(data).suffix.lower() == ".csv" and Path(data).is_file()
    if not (is_csv or is_remote_list(data)) or Path(data).name == KAGGLE_LABELS:
        return None
    groups = groups_in_csv(data, column)
    return {source.name(number): group for number, group in enumerate(groups)}


def _without(found: MeasuredImages, exclude: Path) -> MeasuredImages:
    left = leave_out(found.source, exclude, found.data)
    return found._replace(
        source=FolderSource(left.images),
        excluded=left.excluded,
        notes=(*found.notes, *left.notes),
        read=(*found.read, exclude),
    )


def _trained_on(
    file: Path, metadata: WeightsMetadata, recipe: Recipe, found: MeasuredImages
) -> str | None:
    """Return a note if some of the images are training images of a run."""
    source = _measured_files(found.source)
    trained, images = _trained(recipe), len(source)
    if trained is None:
        if found.data != "shapes" or found.split != "train":
            return None
        return f"{file}: was trained on these {images} images"
    fraction = trained.val_fraction
    if fraction is not None and found.split == "val" and found.val_fraction == fraction:
        return None
    places = training_places(trained)
    ids = [entry.id for entry in metadata.classes]
    count = _count_in(source, places, validating_places(trained, ids) if places else set())
    if _is_elsewhere(found.data, trained.path, trained.val_path):
        count = _count_elsewhere(file, recipe, source, count)
    if not count:
        return None
    if fraction is not None and found.split != "train" and places:
        return (
            f"{file}: was trained on all but a fraction {fraction} of {trained.path}, "
            f"which has {count} of the {images} images; `inceptcli eval {file}` measures the rest"
        )
    return f"{file}: was trained on {count} of these {images} images"


def _is_elsewhere(data: str, *known: str | None) -> bool:
    return all(path is None or os.path.realpath(path) != os.path.realpath(data) for path in known)


def _count_elsewhere(file: Path, recipe: Recipe, source: ImageSource, count: int) -> int:
    """Correct the number of training images, found by place, by the record of the run."""
    trained = _trained(recipe, file)
    if not isinstance(source, FolderSource | ShardSource) or not (trained and trained.record):
        return count
    if trained.record.count(source, "val") == len(source):
        return 0
    return count or trained.record.count(source, "train")


def has_selected(metadata: WeightsMetadata, found: MeasuredImages) -> bool:
    """Return whether some of the images are the validation images that selected the weights."""
    recipe = _recipe(metadata)
    if recipe is None or validated_once(metadata):
        return False
    trained = _trained(recipe)
    if trained is None:
        return found.data == "shapes" and found.split == "val"
    if trained.val_fraction is not None:
        return found.split == "val" and found.val_fraction == trained.val_fraction
    validating = validating_places(trained, [entry.id for entry in metadata.classes])
    source = _measured_files(found.source)
    if validating and isinstance(source, FolderSource):
        return any(not validating.isdisjoint(places) for places in places_of(source))
    return _count_in(source, validation_places(trained)) > 0


def validated_once(metadata: WeightsMetadata) -> bool:
    """Return whether a run validated a single time, which selects no epoch."""
    recipe = _recipe(metadata)
    return recipe is not None and recipe.trainer.epochs == recipe.trainer.validate_every == 1


def _measured_files(source: ImageSource) -> ImageSource:
    """Return the source of the images themselves, without those that were not selected."""
    if not isinstance(source, SelectedImages):
        return source
    whole = _measured_files(source.whole)
    if not isinstance(whole, FolderSource | ShardSource):
        return source
    chosen = np.zeros(len(whole), bool)
    chosen[list(source.numbers)] = True
    return whole.where(chosen)


def _whole(source: ImageSource) -> ImageSource:
    """Return the source of which images were selected, if they were."""
    while isinstance(source, SelectedImages):
        source = source.whole
    return source


def _count_in(source: ImageSource, places: Sequence[Path], others: Collection[Place] = ()) -> int:
    """Count the images in one of the places (folders, tar files or images) and not at `others`.

    An image is also where the file lies to which it links.
    """
    roots = {os.path.realpath(place) for place in places}

    def is_below(path: Path) -> bool:
        return not roots.isdisjoint(map(str, (path, *path.parents)))

    if isinstance(source, ShardSource):
        shards = [is_below(Path(os.path.realpath(shard))) for shard in source.shards]
        return sum(shards[number] for number in source.shard_of.tolist())
    if not isinstance(source, FolderSource):
        return 0
    below: dict[str, bool] = {}

    def is_inside(place: Place) -> bool:
        folder, name = place
        if folder not in below:
            below[folder] = is_below(Path(folder))
        return below[folder] or os.path.join(folder, name) in roots  # noqa: PTH118 (is slower)

    return sum(
        (is_inside(own) or is_inside(target)) and own not in others and target not in others
        for own, target in places_of(source)
    )
