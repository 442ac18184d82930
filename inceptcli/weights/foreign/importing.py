"""Other people's weights become ours: recognized, renamed by a table, loaded strictly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

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
from inceptcli.weights.foreign.settling import settle
from inceptcli.weights.formats import foreign_file
from inceptcli.weights.formats.keras_config import KerasConfig
from inceptcli.weights.header import MOST_CLASSES
from inceptcli.weights.keys.key_table import KeyTable, auxiliary_layout, layout
from inceptcli.weights.metadata import WeightsMetadata

NUM_IMAGENET_CLASSES = 1000
NUM_LISTED = 10


@dataclass(frozen=True)
class ImportReport:
    """What was recognized and done.

    `remarks` are sentences for the reader, `initialized` the state-dict keys that the source lacked
    (`partial` only), `source_sha256` the hash of the source in hexadecimal digits.
    """

    family: str
    network: str
    num_classes: int
    remarks: tuple[str, ...]
    initialized: tuple[str, ...]
    source_sha256: str


class Imported(NamedTuple):
    """A network of ours, made of another library's tensors, and what should be said of it."""

    tensors: dict[str, Tensor]
    metadata: WeightsMetadata
    remarks: tuple[str, ...]


def convert(
    source: Path,
    output: Path,
    *,
    partial: bool = False,
    raw: bool = False,
    auxiliary_head: bool = False,
    declared: Sequence[Declared] = (),
    source_note: dict[str, str] | None = None,
) -> ImportReport:
    """Write the weights in another library's file as one file of ours; see `imported`.

    Raises:
        UserError: as `imported`. Nothing is written then.
    """
    found = imported(
        source,
        partial=partial,
        raw=raw,
        auxiliary_head=auxiliary_head,
        declared=declared,
        source_note=source_note,
    )
    try:  # names or sizes that no weights file may have
        WeightsMetadata.from_header(found.metadata.to_header())
    except ValueError as error:
        raise UserError(f"{source}: cannot be imported as stated: {error}") from error
    save(output, found.tensors, found.metadata)
    return ImportReport(
        found.metadata.source["family"],
        found.metadata.network.name,
        found.metadata.network.num_classes,
        found.remarks,
        tuple(found.metadata.initialized),
        found.metadata.source_sha256 or "",
    )


def imported(
    source: Path,
    *,
    partial: bool = False,
    raw: bool = False,
    auxiliary_head: bool = False,
    declared: Sequence[Declared] = (),
    source_note: dict[str, str] | None = None,
) -> Imported:
    """The network in another library's file.

    With `partial`, tensors that the source lacks are initialized; a missing classifier gets one
    class. With `raw` the weights as trained are taken where there is an average, too, and with
    `auxiliary_head` the auxiliary head that TF-slim saves beside the network. Of `declared` the
    first that states something is right; the rest is assumed by the family. `source_note` is
    kept in the metadata's `source`, beside the family. A training checkpoint of a run of ours is
    described by its run directory.

    Raises:
        UserError: the source cannot be read, would run code or is of another network; tensors are
            missing (unless `partial`), unexpected, misshapen or of another type; as many classes
            are declared as the classifier does not have; `auxiliary_head`, and there is none; the
            run of a checkpoint is gone.
        UsageError: something is declared, `partial` or `auxiliary_head`, of a run's checkpoint.
    """
    file = foreign_file.read_foreign_file(source)
    if file.run_step is not None:
        if partial or auxiliary_head or declared:
            flags = [entry.origin for entry in declared] + ["--partial"] * partial
            flags += ["--auxiliary-head"] * auxiliary_head
            raise UsageError(
                f"{source}: a {run_checkpoint.FAMILY}, which says itself what its network, classes "
                f"and preprocessing are; leave out {', '.join(flags)}"
            )
        return _of_run(source, file.groups, file.run_step, raw)
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
    initialized = [key for key in missing if partial and not key.startswith(AUXILIARY_HEAD)]
    lacking = [key for key in missing if key not in initialized]
    if problems := _problems(expected, theirs, tensors, lacking):
        advice = "; --partial initializes what is missing" * (problems.keys() == {"missing"})
        clauses = "; ".join(problems.values())
        raise UserError(f"{source}: recognized as {table.family}, but {clauses}{advice}")
    if file.config is not None:
        declared = [*declared, *_of_keras(source, file.config, declared)]
    said = settle(source, table, options.num_classes, declared, "classifier.weight" in missing)
    note = {"weights": found.name} if found.place or found.prefix else {}
    note |= {"auxiliary head": "kept"} if auxiliary_head else {}
    metadata = WeightsMetadata(
        options,
        said.classes,
        said.preprocessing,
        averaged=found.averaged,
        source_sha256=foreign_file.sha256(source),
        source={"family": table.family, **note, **said.origins, **(source_note or {})},
        initialized=initialized,
        assumed=said.assumed,
        unnamed=said.unnamed,
    )
    ours = _converted(expected, theirs, tensors) | _initialized(options, initialized)
    remarks = [*found.remarks, *remarks, *_remarks(theirs, tensors), *said.remarks]
    return Imported(ours, metadata, tuple(remarks))


def _of_keras(source: Path, config: KerasConfig, declared: Sequence[Declared]) -> list[Declared]:
    """What a Keras model says of its images.

    Raises UserError where it changes their values in an unknown way, and nothing else says them.
    """
    stated = {name for entry in declared for name in entry.preprocessing}
    if config.unread and not stated >= {"mean", "std"}:
        raise UserError(
            f"{source}: layers before its first convolution change pixel values in a way that is "
            f"not read ({listed(config.unread)}); --mean and --std say what the network gets"
        )
    if not config.preprocessing:
        return []
    return [Declared(f"{source}, its own layers", preprocessing=config.preprocessing)]


def _of_run(source: Path, groups: dict[str, dict[str, Tensor]], step: int, raw: bool) -> Imported:
    taken = run_checkpoint.taken(source, groups, raw)
    said, remark = run_checkpoint.described(source)
    expected = layout(said.network)
    same = {key: key for key in expected}
    missing = [key for key in expected if key not in taken.tensors]
    if problems := _problems(expected, same, taken.tensors, missing):
        clauses = "; ".join(problems.values())
        raise UserError(f"{source}: not of the run in whose folder it lies: {clauses}")
    metadata = replace(
        said,
        epoch=None,
        metrics={},
        averaged=taken.averaged,
        source_sha256=foreign_file.sha256(source),
        source={"family": run_checkpoint.FAMILY, "weights": taken.place, "step": str(step)},
        environment={},
    )
    remarks = (f"after optimizer step {step}", *taken.remarks, remark)
    return Imported(_converted(expected, same, taken.tensors), metadata, remarks)


def _is_counter(key: str) -> bool:
    """Batches seen by a batch norm: absent in old files and in Keras; nothing here reads it."""
    return key.endswith(".num_batches_tracked")


def _without_background(
    table: KeyTable, tensors: dict[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors with 1000 ImageNet classes where there were 1001, and a remark about that."""
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
    """The layout of the auxiliary head; UserError where the source has none."""
    expected = auxiliary_layout(options) if table.has_auxiliary_head else {}
    if not tensors.keys() & table.theirs(expected).values():
        raise UserError(f"{source}: --auxiliary-head: {table.family}, without one; leave it out")
    return expected


def _without_auxiliary_head(
    table: KeyTable, options: NetworkOptions, tensors: dict[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of the network alone, and a remark where there were others."""
    head = auxiliary_layout(options) if table.has_auxiliary_head else {}
    theirs = set(table.theirs(head).values())
    kept = {key: tensor for key, tensor in tensors.items() if key not in theirs}
    if len(kept) == len(tensors):
        return tensors, []
    return kept, ["passed over the auxiliary head (--auxiliary-head keeps it for training)"]


def _options(table: KeyTable, tensors: dict[str, Tensor], epsilon: float | None) -> NetworkOptions:
    """The released network with as many classes as the source's classifier has rows or biases."""
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
    """What keeps the tensors from fitting, one clause per kind; empty when they fit."""
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
        "misshapen": misshapen,
        "not of numbers with a fraction": mistyped,
    }
    return {kind: f"{len(keys)} {kind}: {_listed(keys)}" for kind, keys in kinds.items() if keys}


def _listed(keys: list[str]) -> str:
    return ", ".join(keys[:NUM_LISTED]) + (", ..." if len(keys) > NUM_LISTED else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"


def _remarks(theirs: Mapping[str, str], tensors: Mapping[str, Tensor]) -> list[str]:
    remarks = []
    if theirs["classifier.weight"] not in tensors:
        remarks.append("the source has no classifier: the file gives embeddings, and no classes")
    types = {str(value.dtype) for value in tensors.values() if value.is_floating_point()}
    if others := sorted(types - {"torch.float32"}):
        remarks.append(f"{', '.join(others)} became torch.float32")
    return remarks


def _converted(
    expected: Mapping[str, Tensor], theirs: Mapping[str, str], tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Our state dict in our types; batch counters that the source lacks are zero."""
    return {
        key: tensors[theirs[key]].to(value.dtype)
        if theirs[key] in tensors
        else torch.zeros_like(value, device="cpu")
        for key, value in expected.items()
    }


def _initialized(options: NetworkOptions, missing: list[str]) -> dict[str, Tensor]:
    """The missing tensors as a new network has them; always the same ones."""
    if not missing:
        return {}
    with torch.device("meta"):
        network = build(options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name in dict.fromkeys(key.rpartition(".")[0] for key in missing):
            module = network.get_submodule(name).to_empty(device="cpu")
            module.reset_parameters()  # type: ignore[operator]  # every layer of torch's has it
            initialize(module)
    fresh = network.state_dict()
    return {key: fresh[key] for key in missing}
