"""The figures that more than one network is built from."""

from __future__ import annotations

from inceptcli.networks.blocks import Fork, Path, Step, conv, fork, max_pool


def stem(in_channels: int) -> Path:
    """Figure 3, the stem of Inception-v4 and Inception-ResNet-v2: 299x299x3 -> 35x35x384.

    Differs from Figure 3: the last 3x3 convolution has stride 2 and the last pool is 3x3; 71 -> 35
    needs the stride, and the released weights the pool.
    """
    return Path(
        in_channels,
        [
            conv("3x3", 32, stride=2, valid=True),
            conv("3x3", 32, valid=True),
            conv("3x3", 64),
            fork(pooled=[max_pool()], strided=[conv("3x3", 96, stride=2, valid=True)]),
            fork(
                short=[conv("1x1", 64), conv("3x3", 96, valid=True)],
                deep=[
                    conv("1x1", 64),
                    conv("7x1", 64),
                    conv("1x7", 64),
                    conv("3x3", 96, valid=True),
                ],
            ),
            fork(strided=[conv("3x3", 192, stride=2, valid=True)], pooled=[max_pool()]),
        ],
    )


def reduction_a(k: int, l: int, m: int, n: int) -> Step:  # noqa: E741 (the letters of Figure 7)
    """Figure 7, 35x35 -> 17x17, with the filters of Table 1; adds m + n channels."""
    return lambda in_channels: Fork(
        in_channels,
        strided=[conv("3x3", n, stride=2, valid=True)],
        deep=[conv("1x1", k), conv("3x3", l), conv("3x3", m, stride=2, valid=True)],
        pooled=[max_pool()],
    )
