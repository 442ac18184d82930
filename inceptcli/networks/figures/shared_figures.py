"""Figures used by more than one network."""

from __future__ import annotations

from inceptcli.networks.boxes import Box, Conv, Fork, Kernel, MaxPool


def stem(first: Kernel = "7x1", second: Kernel = "1x7") -> list[Box]:
    """Figure 3, the stem of Inception-v4 and Inception-ResNet-v2: 299x299x3 -> 35x35x384.

    Differs from Figure 3: the last 3x3 convolution has stride 2, which 71 -> 35 requires, and the
    last pool is 3x3, as in the released weights. The released weights also swap the `first` and
    `second` long kernel.
    """
    return [
        Conv("3x3", 32, stride=2, valid=True),
        Conv("3x3", 32, valid=True),
        Conv("3x3", 64),
        Fork(pooled=[MaxPool()], strided=[Conv("3x3", 96, stride=2, valid=True)]),
        Fork(
            short=[Conv("1x1", 64), Conv("3x3", 96, valid=True)],
            deep=[Conv("1x1", 64), Conv(first, 64), Conv(second, 64), Conv("3x3", 96, valid=True)],
        ),
        Fork(strided=[Conv("3x3", 192, stride=2, valid=True)], pooled=[MaxPool()]),
    ]


def reduction_a(k: int, l: int, m: int, n: int) -> Fork:  # noqa: E741 (the letters of Figure 7)
    """Figure 7, 35x35 -> 17x17, with the filters of Table 1; adds m + n channels."""
    return Fork(
        strided=[Conv("3x3", n, stride=2, valid=True)],
        deep=[Conv("1x1", k), Conv("3x3", l), Conv("3x3", m, stride=2, valid=True)],
        pooled=[MaxPool()],
    )
