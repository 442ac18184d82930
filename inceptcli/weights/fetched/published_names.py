"""Which weights are published, and where. Imports nothing, for completion and lists."""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """Weights that can be had by name, for one network."""

    name: str
    network: str

    @property
    def shown(self) -> str:
        """What to write for them: `imagenet`, or with the network where it is not the default."""
        return self.name if self.network == DEFAULT_NETWORK else f"{self.network}:{self.name}"


PUBLISHED = {  # and the repository that has them
    Published("imagenet", "irv2-tf"): "timm/inception_resnet_v2.tf_in1k",
    Published("imagenet", "iv4-tf"): "timm/inception_v4.tf_in1k",
    Published("ens-adv", "irv2-tf"): "timm/inception_resnet_v2.tf_ens_adv_in1k",
}
DEFAULT_NETWORK = "irv2-tf"
