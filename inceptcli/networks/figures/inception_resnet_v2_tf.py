"""Inception-ResNet-v2 as its authors released it: another stem, twice the modules, narrower.

The modules are the paper's (Figures 7 and 16-19), each as wide as its input. The stem has 320
output channels, so widths are 320, 1088 and 2080, not 384, 1152 and 2144. Source: TF-slim.
"""

from __future__ import annotations

from inceptcli.networks.boxes import Box, Conv, Description, Stage
from inceptcli.networks.figures import inception_v3
from inceptcli.networks.figures.inception_resnet_v2 import (
    inception_resnet_a,
    inception_resnet_b,
    inception_resnet_c,
    reduction_b,
)
from inceptcli.networks.figures.shared_figures import reduction_a
from inceptcli.networks.registry import NetworkOptions


def describe(options: NetworkOptions) -> Description:
    """Figure 15, the overall schema; sizes at 299x299.

    Differs from Figure 15: 10, 20 and 10 modules, the last C module with scale 1 and no ReLU, then
    a 1x1 convolution to 1536 channels, as in the released weights.
    """
    assert options.repeats is not None
    assert options.residual_scales is not None
    a, b, c = options.repeats
    scale_a, scale_b, scale_c = options.residual_scales
    last_c = inception_resnet_c(1.0, activation=False)
    all_c = [*[inception_resnet_c(scale_c)] * (c - 1), last_c]
    stages = [
        Stage("stem", "released code", stem()),  # 35x35x320
        Stage("inception_a", "Figure 16", [inception_resnet_a(scale_a)] * a),  # 35x35x320
        Stage("reduction_a", "Figure 7", reduction_a(k=256, l=256, m=384, n=384)),  # 17x17x1088
        Stage("inception_b", "Figure 17", [inception_resnet_b(scale_b)] * b),  # 17x17x1088
        Stage("reduction_b", "Figure 18", reduction_b()),  # 8x8x2080
        Stage("inception_c", "Figure 19", all_c),  # 8x8x2080
        Stage("projection", "released code", Conv("1x1", 1536)),  # 8x8x1536
    ]
    return Description(options, stages, overall_figure="Figure 15")


def stem() -> list[Box]:
    """Stem of the released code: 299x299x3 -> 35x35x320.

    Differs from Figure 3: Inception-v3's stem and first 35x35 module, with 96 filters in the direct
    path of that module, as in the released weights.
    """
    return [*inception_v3.stem(), inception_v3.inception_a(direct=96, pooled=64)]
