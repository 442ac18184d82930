"""Which images validate: by content, class by class, and no class is left empty."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inceptcli.data.splits import unvalidated, validation_mask
from inceptcli.errors import UsageError, UserError


def digest(content: object) -> bytes:
    return hashlib.sha256(str(content).encode()).digest()


def validated(contents: Sequence[object], labels: Sequence[int], fraction: float) -> set[object]:
    chosen = validation_mask([digest(content) for content in contents], labels, fraction)
    return {content for content, is_val in zip(contents, chosen, strict=True) if is_val}


def test_about_the_fraction_validates() -> None:
    contents = range(1000)
    assert 200 < len(validated(contents, [number % 2 for number in contents], 0.25)) < 300


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.3, 1e-9, 0.999999])
def test_each_of_thirty_classes_of_eight_images_has_both(fraction: float) -> None:
    labels = [number // 8 for number in range(240)]
    chosen = validation_mask([digest(number) for number in range(240)], labels, fraction)
    val = Counter(label for label, is_val in zip(labels, chosen, strict=True) if is_val)
    assert len(val) == 30
    assert all(1 <= count <= 7 for count in val.values())
    if fraction in (1e-9, 0.999999):
        assert set(val.values()) == {1 if fraction < 0.5 else 7}


def test_the_only_image_of_a_class_trains_and_that_is_said() -> None:
    labels, contents = [0, 0, 1, 1, 2], ["a", "b", "c", "c", "d"]
    chosen = validation_mask([digest(content) for content in contents], labels, 0.9)
    assert sum(chosen[:2]) == 1
    assert not any(chosen[2:])
    said = unvalidated(chosen, labels, ["x", "y", "z"], 0.9)
    assert said is not None
    assert said.startswith("2 of 3 classes have a single image, or only such")
    assert said.endswith(": y, z")
    assert unvalidated(chosen[:2], labels[:2], ["x", "y", "z"], 0.9) is None
    with pytest.raises(UserError, match="no class has two different images"):
        unvalidated(chosen[2:], labels[2:], ["x", "y", "z"], 0.9)


def test_the_only_image_of_a_class_trains_where_a_larger_class_has_it_too() -> None:
    labels = [0, 0, 0, 1, 2, 2, 2, 2, 2]
    contents = ["r5", "r1", "r2", "r5", "d0", "d1", "d2", "d3", "d4"]
    assert min(contents[:3], key=digest) == "r5"  # which would validate if it were rose's alone
    found = validated(contents, labels, 1e-9)
    assert "r5" not in found
    assert len(found & {"r1", "r2"}) == len(found & {"d0", "d1", "d2", "d3", "d4"}) == 1


def test_a_class_of_which_each_image_is_the_only_one_of_another_has_none_to_validate() -> None:
    labels, contents = [0, 0, 1, 2, 3, 3], ["a", "b", "a", "b", "c", "d"]
    chosen = validation_mask([digest(content) for content in contents], labels, 1e-9)
    assert not any(chosen[:4])
    assert sum(chosen[4:]) == 1
    said = unvalidated(chosen, labels, ["w", "x", "y", "z"], 1e-9)
    assert said is not None
    assert said.endswith("no validation images: w, x, y")


def test_what_cannot_be_read_trains() -> None:
    digests = [digest("a"), digest("b"), None]
    assert not validation_mask(digests, [0, 0, 0], 0.999)[2]
    assert validation_mask([None, digest("a")], [0, 0], 0.999) == [False, False]


images = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 4)), min_size=1, max_size=60)
fractions = st.sampled_from([0.01, 0.1, 0.3, 0.5, 0.9, 0.99])


@given(images, fractions)
def test_equal_images_never_part_in_any_class(
    images: list[tuple[int, int]], fraction: float
) -> None:
    contents, labels = zip(*images, strict=True)
    chosen = validation_mask([digest(content) for content in contents], labels, fraction)
    sides = {(content, is_val) for content, is_val in zip(contents, chosen, strict=True)}
    assert len(sides) == len(set(contents))


@given(images, fractions)
def test_each_class_of_its_own_images_has_both_sides(
    images: list[tuple[int, int]], fraction: float
) -> None:
    contents, labels = [(content, label) for content, label in images], [x[1] for x in images]
    val = validated(contents, labels, fraction)
    for label in set(labels):
        own = {content for content in contents if content[1] == label}
        if len(own) > 1:
            assert own & val
            assert own - val
        else:
            assert not own & val


@given(images, fractions, st.randoms(use_true_random=False))
def test_neither_order_nor_names_matter(
    images: list[tuple[int, int]], fraction: float, random: Random
) -> None:
    contents, labels = zip(*images, strict=True)
    shuffled = list(images)
    random.shuffle(shuffled)
    again, labels_again = zip(*shuffled, strict=True)
    assert validated(contents, labels, fraction) == validated(again, labels_again, fraction)


def test_an_image_that_is_added_moves_one_other_at_most() -> None:
    contents = list(range(30))
    for fraction in (0.01, 0.1, 0.9, 0.99):
        before = validated(contents, [0] * 30, fraction)
        for new in range(100, 140):
            after = validated([*contents, new], [0] * 31, fraction) - {new}
            assert len(before ^ after) <= 1


def test_a_larger_fraction_only_adds_validation_images() -> None:
    contents = range(60)
    labels = [number % 7 for number in contents]
    steps = [validated(contents, labels, fraction / 20) for fraction in range(1, 20)]
    assert all(less <= more for less, more in pairwise(steps))


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_outside_0_and_1_is_refused(fraction: float) -> None:
    with pytest.raises(UsageError, match="val_fraction must be between 0 and 1, got"):
        validation_mask([digest("a")], [0], fraction)
