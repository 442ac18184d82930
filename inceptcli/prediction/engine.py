"""The boundary between pictures and whatever computes their logits; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from inceptcli.data.preprocessing import Preprocessing
from inceptcli.weights.metadata import ClassName


class Engine(Protocol):
    """A network with its classes and the preprocessing that it was trained for."""

    @property
    def classes(self) -> Sequence[ClassName]:
        """What each logit stands for, in order."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How a decoded picture is cut before it is given to `logits`."""

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Crops (N, H, W, 3), RGB of 0 to 255, N at least 1, to logits (N, num_classes).

        A picture's logits do not depend on the others; how many are given at once changes them by
        no more than float32 rounding.
        """
