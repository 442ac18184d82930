"""Comparison of two networks by options, stages and the boxes within a stage. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inceptcli.networks.registry import NetworkOptions
    from inceptcli.networks.summary import StageSummary, Summary


@dataclass(frozen=True)
class OptionDifference:
    """An option with different values in the two networks."""

    option: str
    first: Any
    second: Any


@dataclass(frozen=True)
class BoxSummary:
    """A box of a figure: kernel and kind, output channels, parameters, multiply-adds."""

    kind: str
    width: int
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class BoxDifference:
    """A box that differs between the networks; None where a network lacks it.

    For repeated modules, `box` contains `each`, or the module's number if that module differs from
    the first: inception_b.each.twice.1, inception_c.9.linear.
    """

    box: str
    first: BoxSummary | None
    second: BoxSummary | None


@dataclass(frozen=True)
class StageDifference:
    """A stage that differs between the networks; None where a network lacks it."""

    name: str
    first: StageSummary | None
    second: StageSummary | None
    boxes: list[BoxDifference]


@dataclass(frozen=True)
class Difference:
    """All differences between two networks; names, figures and class names are ignored."""

    options: list[OptionDifference]
    stages: list[StageDifference]

    @property
    def none(self) -> bool:
        """Whether both networks compute the same function of the same parameters."""
        return not self.options and not self.stages


def difference(
    first: Summary, second: Summary, options: tuple[NetworkOptions, NetworkOptions]
) -> Difference:
    """Compare two networks summarized at the same image size."""
    plain = [chosen.as_dict() for chosen in options]
    differing = [
        OptionDifference(name, value, plain[1][name])
        for name, value in plain[0].items()
        if name != "name" and value != plain[1][name]
    ]
    stages = [{stage.name: stage for stage in summary.stages} for summary in (first, second)]
    found = (_stage(name, stages[0].get(name), stages[1].get(name)) for name in _merged(*stages))
    return Difference(differing, [stage for stage in found if stage is not None])


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Return the keys of both in order; keys only in `second` precede the next common key."""
    names: list[str] = []
    for name in first:
        if name in second:
            position = list(second).index(name)
            names += [other for other in list(second)[:position] if other not in (*names, *first)]
        names.append(name)
    return names + [name for name in second if name not in names]


def _stage(
    name: str, first: StageSummary | None, second: StageSummary | None
) -> StageDifference | None:
    if first is None or second is None:
        return StageDifference(name, first, second, [])
    boxes = _boxes(first), _boxes(second)
    differing = [
        BoxDifference(box, boxes[0].get(box), boxes[1].get(box))
        for box in _merged(*boxes)
        if boxes[0].get(box) != boxes[1].get(box)
    ]
    same = (first.repeats, first.output_shape) == (second.repeats, second.output_shape)
    return None if same and not differing else StageDifference(name, first, second, differing)


def _boxes(stage: StageSummary) -> dict[str, BoxSummary]:
    """Return the boxes by name; modules equal to the first are listed once."""
    described = {
        layer: BoxSummary(layer.kind, layer.output_shape[0], layer.parameters, layer.multiply_adds)
        for layer in stage.layers
    }
    first = {layer.box: box for layer, box in described.items() if layer.module == 0}
    boxes = {}
    for layer, box in described.items():
        if not layer.module:  # the first module, or the only one
            place = layer.name if layer.module is None else f"{stage.name}.each.{layer.box}"
            boxes[place] = box
        elif box != first.get(layer.box):
            boxes[layer.name] = box
    return boxes
