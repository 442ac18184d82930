"""Other people's weights become ours: recognised, renamed by a table, loaded strictly."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from inceptcli.errors import UserError
from inceptcli.networks.network import initialize
from inceptcli.networks.registry import NetworkOptions, build, network_options
from inceptcli.weights import foreign_file
from inceptcli.weights.file import save
from inceptcli.weights.imagenet_classes import imagenet_classes
from inceptcli.weights.key_table import KeyTable, layout
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from inceptcli.weights.recognition import recognise

NUM_IMAGENET_CLASSES = 1000
NUM_LISTED = 10


@dataclass(frozen=True)
class ImportReport:
    """What was recognised and done.

    `remarks` are sentences for the reader, `initialised` the state-dict keys that the source lacked
    (`partial` only), `source_sha256` the hash of the source in hexadecimal digits.
    """

    family: str
    network: str
    num_classes: int
    remarks: tuple[str, ...]
    initialised: tuple[str, ...]
    source_sha256: str


def convert(
    source: Path,
    output: Path,
    *,
    partial: bool = False,
    source_note: dict[str, str] | None = None,
) -> ImportReport:
    """Write the weights in another library's file as one file of ours.

    With `partial`, tensors that the source lacks are initialised; a missing classifier gets one
    class. `source_note` is kept in the metadata's `source`, beside the family.

    Raises:
        UserError: the source cannot be read, would run code or is of another network; tensors are
            missing (unless `partial`), unexpected or misshapen. Nothing is written then.
    """
    file = foreign_file.read(source)
    table = recognise(source, file)
    tensors, remarks = _without_background(table, file.tensors)
    options = _options(table, tensors)
    expected = layout(options)
    theirs = table.theirs(expected)
    missing = [key for key in expected if theirs[key] not in tensors and not _is_counter(key)]
    if problems := _problems(expected, theirs, tensors, [] if partial else missing):
        raise UserError(f"{source}: recognised as {table.family}, but {problems}")
    remarks += _remarks(theirs, tensors)
    sha256 = _sha256(source)
    metadata = WeightsMetadata(
        options,
        _classes(table, options.num_classes),
        table.preprocessing,
        source_sha256=sha256,
        source={"family": table.family, **(source_note or {})},
        initialised=missing,
    )
    ours = _converted(expected, theirs, tensors) | _initialised(options, missing)
    save(output, ours, metadata)
    return ImportReport(
        table.family, table.network, options.num_classes, tuple(remarks), tuple(missing), sha256
    )


def _is_counter(key: str) -> bool:
    """Batches seen by a batch norm: absent in old files and in Keras; nothing here reads it."""
    return key.endswith(".num_batches_tracked")


def _without_background(
    table: KeyTable, tensors: dict[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors with 1000 ImageNet classes where there were 1001, and a remark about that."""
    head = table.theirs(["classifier.weight", "classifier.bias"]).values()
    rows = {tensors[key].shape[:1] for key in head if key in tensors}
    if not table.imagenet or rows != {(NUM_IMAGENET_CLASSES + 1,)}:
        return tensors, []
    kept = {key: value[1:] if key in head else value for key, value in tensors.items()}
    return kept, ["dropped row 0 of the 1001-row classifier, the background class"]


def _options(table: KeyTable, tensors: dict[str, Tensor]) -> NetworkOptions:
    """The released network with as many classes as the source's classifier has rows."""
    head = tensors.get(table.theirs(["classifier.weight"])["classifier.weight"])
    return network_options(table.network, num_classes=1 if head is None else max(1, len(head)))


def _classes(table: KeyTable, count: int) -> tuple[ClassName, ...]:
    """ImageNet's names where they fit; else the source names none, and classes are numbers."""
    if table.imagenet and count == NUM_IMAGENET_CLASSES:
        return imagenet_classes()
    return tuple(ClassName(str(index), str(index)) for index in range(count))


def _problems(
    expected: Mapping[str, Tensor],
    theirs: Mapping[str, str],
    tensors: Mapping[str, Tensor],
    missing: list[str],
) -> str:
    """What keeps the tensors from fitting, one clause per kind; empty when they fit."""
    known = set(theirs.values())
    misshapen = [
        f"{theirs[key]} ({_shape(found)}, expected {_shape(value)})"
        for key, value in expected.items()
        if (found := tensors.get(theirs[key])) is not None and found.shape != value.shape
    ]
    kinds = {
        "missing": [theirs[key] for key in missing],
        "unexpected": [key for key in tensors if key not in known],
        "misshapen": misshapen,
    }
    clauses = [f"{len(keys)} {kind}: {_listed(keys)}" for kind, keys in kinds.items() if keys]
    if missing and len(clauses) == 1:
        clauses.append("--partial initialises what is missing")
    return "; ".join(clauses)


def _listed(keys: list[str]) -> str:
    return ", ".join(keys[:NUM_LISTED]) + (", ..." if len(keys) > NUM_LISTED else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a single number"


def _remarks(theirs: Mapping[str, str], tensors: Mapping[str, Tensor]) -> list[str]:
    remarks = []
    if theirs["classifier.weight"] not in tensors:
        remarks.append("the source has no classifier: one of a single class stands in for it")
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


def _initialised(options: NetworkOptions, missing: list[str]) -> dict[str, Tensor]:
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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
