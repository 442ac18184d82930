"""Sizes of images as the command line has them."""

from __future__ import annotations

import re

from inceptcli.errors import UsageError


def image_size_of(text: str) -> tuple[int, int]:
    """Height and width of N or HxW; UsageError when a network takes no such images."""
    match = re.fullmatch(r"(\d{1,6})(?:x(\d{1,6}))?", text, re.ASCII)
    if match is None:
        raise UsageError(f"--image-size must be N or HxW pixels (299 or 240x320), got {text!r}")
    size = int(match[1]), int(match[2] or match[1])
    check_image_size(size)
    return size


def check_image_size(size: tuple[int, int]) -> None:
    """UsageError when a side (height, width) is smaller than the networks take."""
    from inceptcli.networks.registry import MINIMUM_IMAGE_SIZE

    if min(size) < MINIMUM_IMAGE_SIZE:
        raise UsageError(
            f"image size must be at least {MINIMUM_IMAGE_SIZE}x{MINIMUM_IMAGE_SIZE} pixels, "
            f"got {size[0]}x{size[1]}"
        )
