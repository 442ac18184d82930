"""Inception-ResNet-v2 as its authors released it: another stem, twice the modules, narrower.

The modules are the paper's (Figures 7 and 16-19); each is as wide as what reaches it, so the stem's
320 channels make 320, 1088 and 2080 of the paper's 384, 1152 and 2144. Source: TF-slim.
"""

from __future__ import annotations

from inceptcli.networks.blocks import Path, Residual, average_pool, conv, fork, max_pool, repeat
from inceptcli.networks.inception_resnet_v2 import (
    inception_resnet_a,
    inception_resnet_b,
    inception_resnet_c,
    reduction_b,
)
from inceptcli.networks.network import Network, Stage
from inceptcli.networks.registry import NetworkOptions
from inceptcli.networks.shared_figures import reduction_a


def build(options: NetworkOptions) -> Network:
    """Figure 15, the overall schema; sizes at 299x299.

    Differs from Figure 15: 10, 20 and 10 modules, of the C modules the last with scale 1 and no
    ReLU, then a 1x1 convolution to 1536 channels, as in the released weights.
    """
    assert options.repeats is not None
    assert options.residual_scales is not None
    count_a, count_b, count_c = options.repeats
    scale_a, scale_b, scale_c = options.residual_scales
    shortcut = options.shortcut

    def a(width: int) -> Residual:
        return inception_resnet_a(width, scale_a, shortcut)

    def b(width: int) -> Residual:
        return inception_resnet_b(width, scale_b, shortcut)

    def c(width: int) -> Residual:
        return inception_resnet_c(width, scale_c, shortcut)

    def last_c(width: int) -> Residual:
        return inception_resnet_c(width, 1.0, shortcut, activation=False)

    stages = [
        Stage("stem", "released code", stem),  # 35x35x320
        Stage("inception_a", "Figure 16", repeat(count_a, a)),  # 35x35x320
        Stage("reduction_a", "Figure 7", reduction_a(k=256, l=256, m=384, n=384)),  # 17x17x1088
        Stage("inception_b", "Figure 17", repeat(count_b, b)),  # 17x17x1088
        Stage("reduction_b", "Figure 18", reduction_b),  # 8x8x2080
        Stage("inception_c", "Figure 19", repeat(count_c, c, last=last_c)),  # 8x8x2080
        Stage("projection", "released code", conv("1x1", 1536)),  # 8x8x1536
    ]
    return Network(options, stages, overall_figure="Figure 15")


def stem(in_channels: int) -> Path:
    """Stem of the released code: 299x299x3 -> 35x35x320.

    Differs from Figure 3: it is Inception-v3's stem and first 35x35 module, as in the released
    weights.
    """
    return Path(
        in_channels,
        [
            conv("3x3", 32, stride=2, valid=True),
            conv("3x3", 32, valid=True),
            conv("3x3", 64),
            max_pool(),
            conv("1x1", 80),
            conv("3x3", 192, valid=True),
            max_pool(),
            fork(
                direct=[conv("1x1", 96)],
                once=[conv("1x1", 48), conv("5x5", 64)],
                twice=[conv("1x1", 64), conv("3x3", 96), conv("3x3", 96)],
                pooled=[average_pool(), conv("1x1", 64)],
            ),
        ],
    )
