"""The benchmark of section 3.2 counts what autograd keeps."""

from __future__ import annotations

from dataclasses import replace

from inceptcli.networks.registry import network_options
from tests.benchmarks.batch_norm_memory import bytes_per_image

FLOAT32 = 4
SUMS = 7 * 7 * 384 + 3 * 3 * 1152 + 2144
"""Values of the sums of one module of each kind at 75 pixels."""


def test_batch_norm_on_the_sums_keeps_each_sum_once_more() -> None:
    options = network_options("irv2", num_classes=5, repeats=(1, 1, 1))
    none, last, every = (
        bytes_per_image(replace(options, batch_norm_on_sums=on_sums), 75)
        for on_sums in ("none", "last", "all")
    )
    assert none == bytes_per_image(options, 75, "cpu")
    assert (last - none, every - none) == (FLOAT32 * 2144, FLOAT32 * SUMS)
