from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import resized_crop

from inceptcli.data.pixels.augmentation import (
    GRAY,
    Augmentation,
    Mirror,
    RandomCrop,
    augment,
    evaluation_crop,
    mixing,
    training_transform,
)
from inceptcli.data.pixels.distortion import Distortion
from inceptcli.data.pixels.preprocessing import Preprocessing

PLAIN = Augmentation(
    style="usual", crop_area=(1.0, 1.0), crop_aspect=(1.0, 1.0), mirror=0.0, brightness=0.0,
    contrast=0.0, saturation=0.0, hue=0.0, policy="none", policy_operations=2,
    policy_magnitude=9, erasing=0.0,
)  # fmt: skip


def varied(**changes: Any) -> Augmentation:
    """A crop of 30 to 100 %, mirrored or not, and what is given."""
    usual = {"crop_area": (0.3, 1.0), "crop_aspect": (0.75, 1.33), "mirror": 0.5}
    return Augmentation(**{**vars(PLAIN), **usual, **changes})


def picture(height: int = 90, width: int = 90) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"style": "authors", "brightness": 0.125, "contrast": 0.5, "saturation": 0.5, "hue": 0.2},
        {"style": "authors", "brightness": 0.125, "saturation": 0.5, "fast_mode": True},
        {"policy": "randaugment"},
        {"policy": "trivialaugment"},
        {"erasing": 1.0},
        {"brightness": 0.4},
    ],
    ids=str,
)
def test_each_variation_is_a_function_of_the_seed_alone(changes: dict[str, Any]) -> None:
    transform = training_transform((80, 75), varied(**changes))
    views = [augment(transform, picture(), seed) for seed in (1, 2, 3)]
    assert all(view.shape == (3, 80, 75) and view.dtype == torch.uint8 for view in views)
    torch.rand(5)
    assert torch.equal(views[0], augment(transform, picture(), 1))
    assert not torch.equal(views[0], views[1])
    assert not torch.equal(views[1], views[2])


def test_the_authors_style_is_their_distortion() -> None:
    chosen = varied(style="authors", brightness=0.1, contrast=0.2, saturation=0.3, hue=0.05)
    settings = (80, 75), (0.3, 1.0), (0.75, 1.33), 0.5, 0.1, 0.2, 0.3, 0.05
    for seed in range(5):
        for fast in (False, True):
            transform = training_transform((80, 75), replace(chosen, fast_mode=fast))
            view = augment(transform, picture(), seed)
            assert torch.equal(view, augment(Distortion(*settings, fast), picture(), seed))


def test_crops_that_are_not_antialiased_are_those_of_evaluation() -> None:
    aliased = training_transform((40, 40), PLAIN, antialias=False)
    evaluated = Preprocessing((40, 40), "squash", 1.0, "bilinear", antialias=False)
    pixels = picture(150, 150)
    expected = evaluation_crop(evaluated, pixels.permute(1, 2, 0).numpy())
    assert torch.equal(augment(aliased, pixels, 0), expected)
    assert not torch.equal(augment(training_transform((40, 40), PLAIN), pixels, 0), expected)


@pytest.mark.parametrize(
    "changes", [{"policy": "randaugment"}, {"policy": "trivialaugment"}, {"erasing": 1.0}], ids=str
)
def test_policies_and_erasing_change_the_picture(changes: dict[str, Any]) -> None:
    plain = training_transform((90, 90), PLAIN)
    changed = training_transform((90, 90), Augmentation(**{**vars(PLAIN), **changes}))
    assert torch.equal(augment(plain, picture(), 5), picture())
    differing = [
        not torch.equal(augment(changed, picture(), seed), picture()) for seed in range(10)
    ]
    assert sum(differing) >= 5


@pytest.mark.parametrize("color", ["brightness", "contrast", "saturation", "hue"])
def test_each_color_changes_the_image(color: str) -> None:
    changed = training_transform((90, 90), varied(**{color: 0.4}))
    plain = training_transform((90, 90), varied())
    for seed in range(3):
        assert not torch.equal(augment(changed, picture(), seed), augment(plain, picture(), seed))


def test_erasing_makes_a_rectangle_gray() -> None:
    transform = training_transform((90, 90), Augmentation(**{**vars(PLAIN), "erasing": 1.0}))
    black = torch.zeros(3, 90, 90, dtype=torch.uint8)
    erased = augment(transform, black, 0)
    assert set(torch.unique(erased).tolist()) == {0, GRAY}
    rows, columns = (erased[0] == GRAY).nonzero(as_tuple=True)
    area = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
    assert area == len(rows)
    assert 0.02 * 8100 - 90 <= area <= 0.33 * 8100 + 90


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.2, 0.0), (0.0, 1.0), (0.2, 1.0)])
def test_mixed_labels_have_the_shares_of_the_mixed_pictures(mixup: float, cutmix: float) -> None:
    transform = mixing(mixup, cutmix, num_classes=4)
    assert transform is not None
    values = torch.tensor([0.0, 1.0, 2.0, 3.0])
    images = values.view(4, 1, 1, 1).expand(4, 3, 16, 16).clone()
    torch.manual_seed(0)
    mixed, shares = transform(images, torch.arange(4))
    assert shares.shape == (4, 4)
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(4))
    torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), shares @ values)
    torch.manual_seed(0)
    again, _ = transform(images, torch.arange(4))
    assert torch.equal(mixed, again)


def test_without_alphas_nothing_is_mixed() -> None:
    assert mixing(0.0, 0.0, num_classes=4) is None


def test_crops_are_torchvisions_and_their_channels_stay_together() -> None:
    crop = RandomCrop((80, 75), (0.1, 1.0), (0.75, 1.33))
    pixels = picture(120, 110).permute(1, 2, 0).contiguous().permute(2, 0, 1)
    for seed in range(5):
        view = augment(crop, pixels, seed)
        torch.manual_seed(seed)
        theirs = resized_crop(pixels, *crop.box(120, 110), [80, 75])
        assert (view.int() - theirs.int()).abs().max() <= 1
        assert view.permute(1, 2, 0).is_contiguous()


def test_crops_are_drawn_as_in_torchvision() -> None:
    area, aspect = (0.08, 0.9), (0.6, 1.5)
    crop = RandomCrop((80, 75), area, aspect)
    theirs = v2.RandomResizedCrop((80, 75), area, aspect)
    torch.manual_seed(0)
    ours = np.array([crop.box(300, 400) for _ in range(4000)])
    drawn = [theirs.make_params([torch.empty(3, 300, 400)]) for _ in range(4000)]
    peers = np.array([[one[key] for key in ("top", "left", "height", "width")] for one in drawn])
    assert (ours[:, 0] + ours[:, 2]).max() <= 300
    assert (ours[:, 1] + ours[:, 3]).max() <= 400
    assert ours[:, :2].min() == 0
    measures: list[Callable[[NDArray[np.int64]], NDArray[np.float64]]] = [
        lambda boxes: boxes[:, 2] * boxes[:, 3] / 120_000,
        lambda boxes: boxes[:, 3] / boxes[:, 2],
        lambda boxes: boxes[:, 0] / (301 - boxes[:, 2]),
        lambda boxes: boxes[:, 1] / (401 - boxes[:, 3]),
    ]
    for measure in measures:
        assert stats.ks_2samp(measure(ours), measure(peers)).pvalue > 0.01


@pytest.mark.parametrize("shape", [(10, 300), (300, 10), (40, 41), (1, 1)])
def test_where_no_crop_fits_the_middle_is_taken(shape: tuple[int, int]) -> None:
    # Twice the area of the image: whatever is drawn is too large.
    crop = RandomCrop((80, 75), (2.0, 2.0), (0.8, 1.2))
    theirs = v2.RandomResizedCrop((80, 75), (2.0, 2.0), (0.8, 1.2))
    expected = theirs.make_params([torch.empty(3, *shape)])
    assert crop.box(*shape) == tuple(expected[key] for key in ("top", "left", "height", "width"))


def test_as_many_are_mirrored_as_was_said() -> None:
    pixels = picture()
    views = [augment(Mirror(0.25), pixels, seed) for seed in range(400)]
    mirrored = sum(torch.equal(view, pixels.flip(2)) for view in views)
    assert sum(torch.equal(view, pixels) for view in views) == 400 - mirrored
    assert 75 <= mirrored <= 125
