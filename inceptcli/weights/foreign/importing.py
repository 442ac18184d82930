"""Conversion of other libraries' weights: recognize the layout, rename keys, check strictly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypedDict, Unpack

import torch
from torch import Tensor

from inceptcli.errors import UsageError, UserError
from inceptcli.networks.registry import NetworkOptions, build, network_options
from inceptcli.networks.torch_modules import initialize
from inceptcli.text import listed
from inceptcli.weights.file import AUXILIARY_HEAD, save
from inceptcli.weights.foreign import run_checkpoint
from inceptcli.weights.foreign.declared import Declared
from inceptcli.weights.foreign.recognition import recognize
from inceptcli.weights.foreign.settling import NUM_IMAGENET_CLASSES, describes, settle
from inceptcli.weights.formats import foreign_file
from inceptcli.weights.formats.keras_config import KerasConfig
from inceptcli.weights.header import MOST_CLASSES
from inceptcli.weights.keys.key_table import KeyTable, auxiliary_layout, layout
from inceptcli.weights.metadata import WeightsMetadata

NUM_LISTED = 10


class ImportOptions(TypedDict, total=False):
    """The options of `imported`."""

    partial: bool
    raw: bool
    auxiliary_head: bool
    declared: Sequence[Declared]
    source_note: dict[str, str] | None


class Imported(NamedTuple):
    """Converted tensors by our keys, their metadata, and notices for the user."""

    tensors: dict[str, Tensor]
    metadata: WeightsMetadata
    remarks: tuple[str, ...]


def convert(source: Path, output: Path, **options: Unpack[ImportOptions]) -> Imported:
    """Convert another library's file to a weights file; see `imported`.

    Raises:
        UserError: as `imported`; nothing is written.
    """
    found = imported(source, **options)
    try:  # check that names and sizes are valid in a weights file
        WeightsMetadata.from_header(found.metadata.to_header())
    except ValueError as error:
        raise UserError(f"{source}: cannot be imported with this metadata: {error}") from error
    save(output, found.tensors, found.metadata)
    return found


def imported(
    source: Path,
    *,
    partial: bool = False,
    raw: bool = False,
    auxiliary_head: bool = False,
    declared: Sequence[Declared] = (),
    source_note: dict[str, str] | None = None,
) -> Imported:
    """Read and convert the network in another library's file.

    A training checkpoint of an inceptcli run is described by its run directory.

    Args:
        source: File, or index of shards.
        partial: Initialize missing tensors; a missing classifier gets one class.
        raw: Use the raw weights even if there is a moving average.
        auxiliary_head: Also convert the auxiliary head that TF-slim and torchvision save.
        declared: Sources of classes and preprocessing; the first that states a value wins. Values
            that no source states are those usual for the family.
        source_note: Entries to add to the metadata's `source`.

    Raises:
        UserError: the source cannot be read, would run code or has an unknown network; tensors are
            missing (without `partial`), unexpected or have the wrong shape or type; the number of
            declared classes is wrong; there is no auxiliary head; the run directory of a checkpoint
            is missing.
        UsageError: `declared`, `partial` or `auxiliary_head` is given for a run's checkpoint.
    """
    file = foreign_file.read_foreign_file(source)
    if file.run_step is not None:
        if partial or auxiliary_head or declared:
            flags = [entry.origin for entry in declared] + ["--partial"] * partial
            flags += ["--auxiliary-head"] * auxiliary_head
            raise UsageError(
                f"{source}: the run directory of a {run_checkpoint.FAMILY} defines its network, "
                f"classes and preprocessing; leave out {', '.join(flags)}"
            )
        return _imported_run(source, file.groups, file.run_step, raw)
    found = recognize(source, file, raw)
    table = found.table
    tensors, remarks = _without_background(table, found.tensors)
    try:
        options = _options(table, tensors, file.config.epsilon if file.config else None)
    except ValueError as error:
        raise UserError(f"{source}: recognized as {table.family}, but {error}") from error
    if auxiliary_head:
        expected = {**layout(options), **_auxiliary_head(source, table, options, tensors)}
    else:
        expected = layout(options)
        tensors, passed_over = _without_auxiliary_head(table, options, tensors)
        remarks += passed_over
    theirs = table.theirs(expected)
    missing = [key for key in expected if theirs[key] not in tensors and not _is_counter(key)]
    classifier = {key for key in expected if key.startswith("classifier.")}
    is_headless = classifier <= {*missing} and any(
        not entry.has_classifier and describes(entry, table) for entry in declared
    )
    initialized = [
        key
        for key in missing
        if (partial and not key.startswith(AUXILIARY_HEAD)) or (is_headless and key in classifier)
    ]
    lacking = [key for key in missing if key not in initialized]
    if problems := _problems(expected, theirs, tensors, lacking):
        advice = "; --partial initializes what is missing" * (problems.keys() == {"missing"})
        clauses = "; ".join(problems.values())
        raise UserError(f"{source}: recognized as {table.family}, but {clauses}{advice}")
    if file.config is not None:
        declared = [*declared, *_keras_preprocessing(source, file.config, declared)]
    settled = settle(source, table, options.num_classes, declared, "classifier.weight" in missing)
    note = {"weights": found.name} if found.place or found.prefix else {}
    note |= {"auxiliary head": "kept"} if auxiliary_head else {}
    metadata = WeightsMetadata(
        options,
        settled.classes,
        settled.preprocessing,
        averaged=found.averaged,
        source_sha256=foreign_file.sha256(source),
        source={"family": table.family, **note, **settled.origins, **(source_note or {})},
        initialized=initialized,
        assumed=settled.assumed,
        unnamed=settled.unnamed,
    )
    ours = _converted(expected, theirs, tensors) | _initialized(options, initialized)
    remarks = [*found.remarks, *remarks, *_remarks(theirs, tensors), *settled.remarks]
    return Imported(ours, metadata, tuple(remarks))


def _keras_preprocessing(
    source: Path, config: KerasConfig, declared: Sequence[Declared]
) -> list[Declared]:
    """Return the preprocessing stored in a Keras model.

    Raises UserError if the model changes pixel values in an unsupported way and `declared` does not
    set mean and std.
    """
    stated = {name for entry in declared for name in entry.preprocessing}
    if config.unread and not stated >= {"mean", "std"}:
        raise UserError(
            f"{source}: layers before its first convolution change pixel values in an unsupported "
            f"way ({listed(config.unread)}); set the preprocessing with --mean and --std"
        )
    if not config.preprocessing:
        return []
    return [Declared(f"the layers of {source}", preprocessing=config.preprocessing)]


def _imported_run(
    source: Path, groups: dict[str, dict[str, Tensor]], step: int, raw: bool
) -> Imported:
    taken = run_checkpoint.taken(source, groups, raw)
    described, remark = run_checkpoint.described(source)
    expected = layout(described.network)
    same = {key: key for key in expected}
    missing = [key for key in expected if key not in taken.tensors]
    if problems := _problems(expected, same, taken.tensors, missing):
        clauses = "; ".join(problems.values())
        raise UserError(f"{source}: does not fit the run directory that it is in: {clauses}")
    metadata = replace(
        described,
        epoch=None,
        metrics={},
        calibration=None,
        averaged=taken.averaged,
        source_sha256=foreign_file.sha256(source),
        source={"family": run_checkpoint.FAMILY, "weights": taken.place, "step": str(step)},
        environment={},
    )
    remarks = (f"after optimizer step {step}", *taken.remarks, remark)
    return Imported(_converted(expected, same, taken.tensors), metadata, remarks)


def _is_counter(key: str) -> bool:
    """Return whether this is a batch norm's batch counter, which old and Keras files lack."""
    return key.endswith(".num_batches_tracked")


def _without_background(
    table: KeyTable, tensors: dict[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Drop the background class from 1001 ImageNet classes; also return a remark about it."""
    modules = ["classifier", f"{AUXILIARY_HEAD}classifier"][: 1 + table.has_auxiliary_head]
    heads = table.theirs(f"{module}.{part}" for module in modules for part in ("weight", "bias"))
    rows = {
        tensors[key].shape[:1]
        for ours, key in heads.items()
        if key in tensors and ours.startswith("classifier.")
    }
    if not table.imagenet or rows != {(NUM_IMAGENET_CLASSES + 1,)}:
        return tensors, []
    kept = {key: value[1:] if key in heads.values() else value for key, value in tensors.items()}
    return kept, ["dropped row 0 of the 1001-row classifier, the background class"]


def _auxiliary_head(
    source: Path, table: KeyTable, options: NetworkOptions, tensors: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return the layout of the auxiliary head; raise UserError if the source has none."""
    expected = auxiliary_layout(options) if table.has_auxiliary_head else {}
    if not tensors.keys() & table.theirs(expected).values():
        raise UserError(
            f"{source}: --auxiliary-head: {table.family} without auxiliary head; leave it out"
        )
    return expected


def _without_auxiliary_head(
    table: KeyTable, options: NetworkOptions, tensors: dict[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Remove the auxiliary head's tensors; also return a remark if there were any."""
    head = auxiliary_layout(options) if table.has_auxiliary_head else {}
    theirs = set(table.theirs(head).values())
    kept = {key: tensor for key, tensor in tensors.items() if key not in theirs}
    if len(kept) == len(tensors):
        return tensors, []
    return kept, ["skipped the auxiliary head (--auxiliary-head keeps it for training)"]


def _options(table: KeyTable, tensors: dict[str, Tensor], epsilon: float | None) -> NetworkOptions:
    """Return the released network's options, with the number of classes of the source."""
    head = table.theirs(["classifier.weight", "classifier.bias"]).values()
    rows = [len(tensors[key]) for key in head if key in tensors and tensors[key].ndim]
    if rows and rows[0] > MOST_CLASSES:
        raise ValueError(f"its classifier has {rows[0]} classes, over {MOST_CLASSES}")
    classes = max(1, rows[0]) if rows else 1
    return network_options(
        table.network, num_classes=classes, batch_norm_eps=epsilon, **table.options
    )


def _problems(
    expected: Mapping[str, Tensor],
    theirs: Mapping[str, str],
    tensors: Mapping[str, Tensor],
    missing: list[str],
) -> dict[str, str]:
    """Return one clause per kind of mismatch; empty if all tensors fit."""
    known = set(theirs.values())
    misshapen = [
        f"{theirs[key]} ({_shape(found)}, expected {_shape(value)})"
        for key, value in expected.items()
        if (found := tensors.get(theirs[key])) is not None and found.shape != value.shape
    ]
    mistyped = [
        f"{theirs[key]} ({found.dtype})"
        for key, value in expected.items()
        if (found := tensors.get(theirs[key])) is not None
        and value.is_floating_point() > found.is_floating_point()
    ]
    kinds = {
        "missing": [theirs[key] for key in missing],
        "unexpected": [key for key in tensors if key not in known],
        "with the wrong shape": misshapen,
        "not floating-point": mistyped,
    }
    return {
        kind: f"{len(keys)} {kind}: {listed(keys, NUM_LISTED)}"
        for kind, keys in kinds.items()
        if keys
    }


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"


def _remarks(theirs: Mapping[str, str], tensors: Mapping[str, Tensor]) -> list[str]:
    remarks = []
    if theirs["classifier.weight"] not in tensors:
        remarks.append("the source has no classifier: the file supports embeddings only")
    types = {str(value.dtype) for value in tensors.values() if value.is_floating_point()}
    if others := sorted(types - {"torch.float32"}):
        remarks.append(f"converted {', '.join(others)} to torch.float32")
    return remarks


def _converted(
    expected: Mapping[str, Tensor], theirs: Mapping[str, str], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return our state dict with our types; batch counters missing in the source are zero."""
    return {
        key: tensors[theirs[key]].to(value.dtype)
        if theirs[key] in tensors
        else torch.zeros_like(value, device="cpu")
        for key, value in expected.items()
    }


def _initialized(options: NetworkOptions, missing: list[str]) -> dict[str, Tensor]:
    """Initialize the missing tensors, reproducibly."""
    if not missing:
        return {}
    with torch.device("meta"):
        network = build(options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name in dict.fromkeys(key.rpartition(".")[0] for key in missing):
            module = network.get_submodule(name).to_empty(device="cpu")
            module.reset_parameters()  # type: ignore[operator]  # all torch layers have it
            initialize(module)
    fresh = network.state_dict()
    return {key: fresh[key] for key in missing}
