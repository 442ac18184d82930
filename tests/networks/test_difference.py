"""Where two networks differ, down to the kernel of a box; counts alone would not tell."""

from __future__ import annotations

from typing import Any

import pytest

from inceptcli.networks.difference import Difference, difference
from inceptcli.networks.registry import NETWORKS, NetworkOptions, network_options
from inceptcli.networks.summary import summarize

Kinds = dict[str, tuple[str | None, str | None]]


def compared(first: str | NetworkOptions, second: str | NetworkOptions) -> Difference:
    chosen = [network_options(name) if isinstance(name, str) else name for name in (first, second)]
    summaries = [summarize(options, (299, 299)) for options in chosen]
    return difference(summaries[0], summaries[1], (chosen[0], chosen[1]))


def kinds(found: Difference, stage: str) -> Kinds:
    (entry,) = [entry for entry in found.stages if entry.name == stage]
    return {
        box.box: (
            box.first.kind if box.first else None,
            box.second.kind if box.second else None,
        )
        for box in entry.boxes
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_equals_itself(name: str) -> None:
    assert compared(name, name).none


def test_the_released_inception_v4_swaps_kernels_and_nothing_else() -> None:
    found = compared("iv4", "iv4-tf")
    assert found.options == []
    assert [entry.name for entry in found.stages] == ["stem", "inception_b", "inception_c"]
    swapped = {("1x7 conv", "7x1 conv"), ("7x1 conv", "1x7 conv")}
    assert kinds(found, "stem") == {
        "stem.4.deep.1": ("7x1 conv", "1x7 conv"),
        "stem.4.deep.2": ("1x7 conv", "7x1 conv"),
    }
    b = kinds(found, "inception_b")
    assert list(b) == [f"inception_b.each.twice.{number}" for number in (1, 2, 3, 4)]
    assert set(b.values()) == swapped
    assert kinds(found, "inception_c") == {
        "inception_c.each.twice.1": ("1x3 conv", "3x1 conv"),
        "inception_c.each.twice.2": ("3x1 conv", "1x3 conv"),
    }
    for entry in found.stages:
        assert entry.first is not None
        assert entry.second is not None
        assert entry.first.parameters == entry.second.parameters
        assert entry.first.multiply_adds == entry.second.multiply_adds


def test_the_released_inception_resnet_v2_differs_in_repeats_widths_and_a_last_stage() -> None:
    found = compared("irv2", "irv2-tf")
    (repeats,) = found.options
    assert (repeats.option, repeats.first, repeats.second) == ("repeats", (5, 10, 5), (10, 20, 10))
    names = [entry.name for entry in found.stages]
    assert names == [
        *("stem", "inception_a", "reduction_a", "inception_b", "reduction_b", "inception_c"),
        *("projection", "average_pooling", "dropout", "classifier"),
    ]
    projection = found.stages[names.index("projection")]
    assert projection.first is None
    assert projection.second is not None
    assert projection.second.parameters == 3_197_952
    widths = {
        box.box: (box.first.width, box.second.width)
        for box in found.stages[1].boxes
        if box.first and box.second
    }
    assert widths["inception_a.each.linear"] == (384, 320)
    assert widths["inception_a.each.direct.0"] == (32, 32)  # of other inputs: other parameters
    stem = kinds(found, "stem")
    assert stem["stem.3.pooled.0"] == ("3x3 max pool, stride 2, valid", None)
    assert stem["stem.3"] == (None, "3x3 max pool, stride 2, valid")


def test_a_last_module_unlike_the_others_is_told_by_its_number() -> None:
    found = compared("irv1", "irv1-facenet")
    last = "1x1 linear, scale 1, no ReLU after the sum"
    assert kinds(found, "inception_c") == {"inception_c.5.linear": (None, last)}


CHANGES: list[tuple[dict[str, Any], str, Kinds]] = [
    (
        {"residual_scales": (0.17, 0.3, 0.2)},
        "inception_b",
        {"inception_b.each.linear": ("1x1 linear, scale 0.1", "1x1 linear, scale 0.3")},
    ),
    ({"repeats": (5, 10, 1)}, "inception_c", {}),
    ({"num_classes": 10}, "classifier", {"classifier": ("linear", "linear")}),
]


@pytest.mark.parametrize(("changes", "stage", "boxes"), CHANGES, ids=lambda value: str(value))
def test_an_option_that_differs_is_named_with_the_stage_it_changes(
    changes: dict[str, Any], stage: str, boxes: Kinds
) -> None:
    found = compared("irv1", network_options("irv1", **changes))
    assert [option.option for option in found.options] == list(changes)
    assert [entry.name for entry in found.stages] == [stage]
    assert kinds(found, stage) == boxes


def test_counted_padding_is_an_option_that_changes_no_box() -> None:
    found = compared("iv3", network_options("iv3", count_padding=True))
    (option,) = found.options
    assert (option.option, option.first, option.second) == ("count_padding", False, True)
    assert found.stages == []
    assert not found.none


def test_modules_of_several_widths_are_told_by_their_numbers() -> None:
    (entry,) = [entry for entry in compared("iv3", "iv4").stages if entry.name == "inception_b"]
    widths = {box.box: box.first.width for box in entry.boxes if box.first is not None}
    assert widths["inception_b.each.once.0"] == 128
    assert widths["inception_b.2.once.0"] == 160
    assert widths["inception_b.3.once.0"] == 192
    assert "inception_b.2.direct.0" not in widths  # like the first module's
