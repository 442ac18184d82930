"""Training loss: cross-entropy or binary cross-entropy, with class weights and focal loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from inceptcli.recipe.sections import LossSection


class TrainingLoss:
    """Loss of a batch as section `loss` of a recipe defines it.

    Targets y (N, classes) are one-hot, of several labels, or mixed; label smoothing s makes them
    (1 - s) y + s / classes. With class weights w and focal gamma g (Lin et al. 2017):

    - cross-entropy, p = softmax(logits): mean over images of -sum_c w_c y_c (1 - p_c)^g log p_c.
      For g = 0 this is torch.nn.CrossEntropyLoss with probabilities as targets.
    - binary, p = sigmoid(logits): mean over images and classes of
      -(w_c y_c (1 - p_c)^g log p_c + (1 - y_c) p_c^g log(1 - p_c)).
      For g = 0 this is torch.nn.BCEWithLogitsLoss with w as `pos_weight`.

    The mean is over images, not over their weights, so that the gradients of ranks and accumulated
    batches add up to those of one large batch.
    """

    def __init__(
        self, settings: LossSection, class_weights: Sequence[float] | None, smoothing: float
    ) -> None:
        self.settings, self.smoothing = settings, smoothing
        self._weights = None if class_weights is None else torch.tensor(class_weights)

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss for logits (N, classes), targets (N,) or (N, classes)."""
        gamma, weights = self.settings.focal_gamma, self._weights
        binary = self.settings.name == "binary"
        if not binary and not gamma and weights is None:
            return functional.cross_entropy(logits, targets, label_smoothing=self.smoothing)
        if weights is not None:
            weights = self._weights = weights.to(logits.device)
        soft = self._soft(targets, logits)
        if binary:
            return _binary(logits, soft, weights, gamma)
        if not gamma:
            return functional.cross_entropy(logits, soft, weights)
        logarithms = functional.log_softmax(logits, dim=1)
        # The power has no finite derivative at 0.
        others = (-torch.expm1(logarithms)).clamp_min(torch.finfo(logits.dtype).eps)
        losses = -soft * others**gamma * logarithms
        return (losses if weights is None else losses * weights).sum(dim=1).mean()

    def _soft(self, targets: Tensor, logits: Tensor) -> Tensor:
        """Return smoothed targets (N, classes); no class index is read, which would synchronize."""
        classes = logits.shape[1]
        if targets.ndim == 1:
            targets = targets[:, None] == torch.arange(classes, device=targets.device)
        return targets.to(logits.dtype) * (1 - self.smoothing) + self.smoothing / classes


def _binary(logits: Tensor, targets: Tensor, weights: Tensor | None, gamma: float) -> Tensor:
    if not gamma:
        return functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights)
    yes, no = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    positive = -targets * torch.exp(gamma * no) * yes
    if weights is not None:
        positive = positive * weights
    return (positive - (1 - targets) * torch.exp(gamma * yes) * no).mean()
