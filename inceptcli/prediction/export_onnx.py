"""A network as one ONNX file that any runtime can use: pixels in, logits out."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from inceptcli.data.normalization import normalize
from inceptcli.data.preprocessing import Preprocessing
from inceptcli.weights.metadata import WeightsMetadata

OPSET = 20
"""ONNX Runtime reads it since 1.17 (January 2024); these networks need nothing newer."""

IR_VERSIONS = {18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11}
"""By opset, the version of the file format that came with it: older runtimes read no newer one."""


class FromPixels(nn.Module):
    """A network with its normalisation in front: crops as Preprocessing.crop returns them."""

    def __init__(
        self, network: nn.Module, preprocessing: Preprocessing, embeds: bool = False
    ) -> None:
        super().__init__()
        self.network, self.preprocessing, self.embeds = network, preprocessing, embeds

    def forward(self, images: Tensor) -> Tensor:
        """(N, H, W, 3), RGB of 0 to 255, uint8 -> logits (N, num_classes), or embeddings."""
        mean, std = self.preprocessing.mean, self.preprocessing.std
        pixels = normalize(images.permute(0, 3, 1, 2), mean, std)
        found: Tensor = self.network.embed(pixels) if self.embeds else self.network(pixels)  # type: ignore[operator]  # a method of Network
        return found


def export_onnx(
    network: nn.Module, metadata: WeightsMetadata, output: Path, opset: int = OPSET
) -> None:
    """Write `network` as ONNX: `images` (N, H, W, 3), uint8, any N, to `logits` (N, num_classes).

    Of a network without a trained classifier the output is `embeddings` (N, num_features). `opset`
    is one of IR_VERSIONS.

    H and W are those of the preprocessing. Normalisation is part of the graph, and batch norm is
    folded into the convolutions. The model's metadata has what our weights file's header has, under
    the same key.
    """
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    # Two pictures: torch would take an example of one for a network that knows no other number.
    example = torch.zeros(2, *metadata.preprocessing.image_size, 3, dtype=torch.uint8)
    program = torch.onnx.export(
        FromPixels(network, metadata.preprocessing, not metadata.has_classifier).eval(),
        (example,),
        input_names=["images"],
        output_names=["logits" if metadata.has_classifier else "embeddings"],
        opset_version=opset,
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    assert program is not None
    # torch notes at every node the source lines that it came from, with this machine's paths.
    ClearMetadataAndDocStringPass()(program.model)
    program.model.ir_version = IR_VERSIONS[opset]
    program.model.metadata_props.update(metadata.to_header())
    program.save(output, external_data=False)
