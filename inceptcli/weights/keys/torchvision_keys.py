"""torchvision's keys of Inception-v3 with auxiliary head, also used by timm."""

from __future__ import annotations

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.weights.file import AUXILIARY_HEAD
from inceptcli.weights.keys.key_table import KeyTable

INCEPTION_V3 = KeyTable(
    family="torchvision, Inception-v3",
    network="iv3",
    modules={
        "stem.0": "Conv2d_1a_3x3",
        "stem.1": "Conv2d_2a_3x3",
        "stem.2": "Conv2d_2b_3x3",
        "stem.4": "Conv2d_3b_1x1",
        "stem.5": "Conv2d_4a_3x3",
        "inception_a.0-2.direct.0": "Mixed_5b-d.branch1x1",
        "inception_a.0-2.once.0": "Mixed_5b-d.branch5x5_1",
        "inception_a.0-2.once.1": "Mixed_5b-d.branch5x5_2",
        "inception_a.0-2.twice.0": "Mixed_5b-d.branch3x3dbl_1",
        "inception_a.0-2.twice.1": "Mixed_5b-d.branch3x3dbl_2",
        "inception_a.0-2.twice.2": "Mixed_5b-d.branch3x3dbl_3",
        "inception_a.0-2.pooled.1": "Mixed_5b-d.branch_pool",
        "reduction_a.strided.0": "Mixed_6a.branch3x3",
        "reduction_a.deep.0": "Mixed_6a.branch3x3dbl_1",
        "reduction_a.deep.1": "Mixed_6a.branch3x3dbl_2",
        "reduction_a.deep.2": "Mixed_6a.branch3x3dbl_3",
        "inception_b.0-3.direct.0": "Mixed_6b-e.branch1x1",
        "inception_b.0-3.once.0": "Mixed_6b-e.branch7x7_1",
        "inception_b.0-3.once.1": "Mixed_6b-e.branch7x7_2",
        "inception_b.0-3.once.2": "Mixed_6b-e.branch7x7_3",
        "inception_b.0-3.twice.0": "Mixed_6b-e.branch7x7dbl_1",
        "inception_b.0-3.twice.1": "Mixed_6b-e.branch7x7dbl_2",
        "inception_b.0-3.twice.2": "Mixed_6b-e.branch7x7dbl_3",
        "inception_b.0-3.twice.3": "Mixed_6b-e.branch7x7dbl_4",
        "inception_b.0-3.twice.4": "Mixed_6b-e.branch7x7dbl_5",
        "inception_b.0-3.pooled.1": "Mixed_6b-e.branch_pool",
        "reduction_b.short.0": "Mixed_7a.branch3x3_1",
        "reduction_b.short.1": "Mixed_7a.branch3x3_2",
        "reduction_b.deep.0": "Mixed_7a.branch7x7x3_1",
        "reduction_b.deep.1": "Mixed_7a.branch7x7x3_2",
        "reduction_b.deep.2": "Mixed_7a.branch7x7x3_3",
        "reduction_b.deep.3": "Mixed_7a.branch7x7x3_4",
        "inception_c.0-1.direct.0": "Mixed_7b-c.branch1x1",
        "inception_c.0-1.once.0": "Mixed_7b-c.branch3x3_1",
        "inception_c.0-1.once.1.wide.0": "Mixed_7b-c.branch3x3_2a",
        "inception_c.0-1.once.1.tall.0": "Mixed_7b-c.branch3x3_2b",
        "inception_c.0-1.twice.0": "Mixed_7b-c.branch3x3dbl_1",
        "inception_c.0-1.twice.1": "Mixed_7b-c.branch3x3dbl_2",
        "inception_c.0-1.twice.2.wide.0": "Mixed_7b-c.branch3x3dbl_3a",
        "inception_c.0-1.twice.2.tall.0": "Mixed_7b-c.branch3x3dbl_3b",
        "inception_c.0-1.pooled.1": "Mixed_7b-c.branch_pool",
        "classifier": "fc",
        f"{AUXILIARY_HEAD}path.1": "AuxLogits.conv0",
        f"{AUXILIARY_HEAD}path.2": "AuxLogits.conv1",
        f"{AUXILIARY_HEAD}classifier": "AuxLogits.fc",
    },
    # torchvision normalizes images by ImageNet's mean and deviation, which the published network
    # reverts (`transform_input`), so the first convolution gets values from -1 to 1.
    preprocessing=Preprocessing((299, 299), crop_fraction=299 / 342, interpolation="bilinear"),
    options={"count_padding": True},
)
