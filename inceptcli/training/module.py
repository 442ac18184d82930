"""The LightningModules: a network and its measures; its loss and what trains it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torchmetrics import MeanMetric

from inceptcli.data.loading.datamodule import batches_done
from inceptcli.data.loading.dataset import Batch
from inceptcli.data.loading.sampler import seed_from
from inceptcli.data.pixels.augmentation import mixing
from inceptcli.data.pixels.normalization import normalize
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.errors import UserError
from inceptcli.networks.figures.auxiliary_head import AUXILIARY_STAGE
from inceptcli.networks.network import AuxiliaryHead, Network
from inceptcli.training import optimizers
from inceptcli.training.fine_tuning import frozen_parts, keep
from inceptcli.training.plan import Plan
from inceptcli.weights.file import load_network, resolve
from inceptcli.weights.metadata import ClassName


class ClassifierMetrics(nn.Module):
    """Mean loss without smoothing, top-1 and top-5 (fractions), summed exactly over all ranks."""

    def __init__(self) -> None:
        super().__init__()
        # Looking for NaN would wait for the device at each batch, and leave such losses out.
        self.loss, self.top1, self.top5 = (MeanMetric(nan_strategy="disable") for _ in range(3))

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add images: logits (N, classes) and labels (N,)."""
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
        self.loss.update(functional.cross_entropy(logits, labels, reduction="none"))
        self.top1.update(best[:, 0].float())
        self.top5.update(best.any(dim=1).float())

    def named(self, part: str) -> dict[str, MeanMetric]:
        """PART_loss, PART_top1 and PART_top5."""
        return {f"{part}_{name}": getattr(self, name) for name in ("loss", "top1", "top5")}


class ImageClassifier(LightningModule):
    """Measures and asks `network` by Lightning's Trainer: `validate`, `test` and `predict`.

    A batch is a Batch or begins with its members: uint8 images (N, 3, H, W) as `preprocessing`
    crops them, and labels (N,), places in `classes`. `predict` takes images alone, too.
    """

    def __init__(
        self, network: nn.Module, classes: Sequence[ClassName], preprocessing: Preprocessing
    ) -> None:
        super().__init__()
        self.network, self.classes, self.preprocessing = network, classes, preprocessing
        self.val_measures, self.test_measures = ClassifierMetrics(), ClassifierMetrics()

    @classmethod
    def load(cls, weights: Path | str) -> Self:
        """That of a weights file or run directory, which is not to be trained.

        Raises UsageError when there is none, UserError when it cannot be read or has no trained
        classifier.
        """
        path = resolve(Path(weights))
        network, metadata = load_network(path)
        if not metadata.has_classifier:
            raise UserError(f"{path}: has no trained classifier")
        network = network.to(memory_format=torch.channels_last)
        return cls(network, metadata.classes, metadata.preprocessing)

    def pixels(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W), uint8 -> what the network reads (N, C, H, W)."""
        if images.dtype != torch.uint8:
            raise ValueError(
                f"images must be uint8, 0 to 255, got {images.dtype}; they are normalized here"
            )
        return normalize(images, self.preprocessing.mean, self.preprocessing.std)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W), uint8 -> logits (N, classes), float32."""
        logits: Tensor = self.network(self.pixels(images)).float()
        return logits

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure each image."""
        self._measure(batch, self.val_measures)

    def validation_results(self) -> dict[str, float]:
        """val_loss, val_top1, val_top5 (fractions) over all ranks; forgets them afterwards."""
        results = {}
        for name, metric in self.val_measures.named("val").items():
            results[name] = float(metric.compute())
            metric.reset()
        return results

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure each image as `eval` does: test_loss, test_top1 and test_top5.

        Raises UserError for an image that cannot be read.
        """
        self._check_whole(batch)
        self._measure(batch, self.test_measures)
        self.log_dict(self.test_measures.named("test"), batch_size=len(batch[0]))

    def predict_step(self, batch: Batch | Tensor, batch_idx: int) -> Tensor:
        """Logits (N, classes), float32, of each image in order.

        Raises UserError for an image that cannot be read.
        """
        self._check_whole(batch)
        images = batch if isinstance(batch, Tensor) else batch[0]
        logits: Tensor = self(images)
        return logits

    def _measure(self, batch: Batch, measures: ClassifierMetrics) -> None:
        images, labels = batch[:2]
        if len(labels):
            measures.update(self(images), labels)

    def _check_whole(self, batch: Batch | Tensor) -> None:
        """UserError where `collate` has left an image out, so that rows would be out of place."""
        if isinstance(batch, Batch) and batch.skipped:
            number, reason = batch.skipped[0]
            raise UserError(f"image {number} of the loader's dataset cannot be read: {reason}")


class Classifier(ImageClassifier):
    """Trains and validates `network` on batches of uint8 images."""

    network: Network

    def __init__(self, network: Network, plan: Plan) -> None:
        super().__init__(network, plan.classes, plan.preprocessing)
        self.plan = plan
        self._kept = frozen_parts(network, plan.recipe.network.freeze)
        keep(self._kept)
        self.auxiliary_weight = plan.recipe.network.auxiliary_weight or 0.0
        self.auxiliary_head = AuxiliaryHead(network.options) if self.auxiliary_weight else None
        augmentation = plan.recipe.augmentation
        self._mix = mixing(augmentation.mixup, augmentation.cutmix, plan.network.num_classes)

    def train(self, mode: bool = True) -> Classifier:
        """As torch has it, but frozen parts stay in evaluation mode."""
        super().train(mode)
        keep(self._kept)
        return self

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Dropout draws from (seed, batches processed, rank), so that no state needs saving."""
        seed = seed_from(
            self.plan.recipe.trainer.seed, batches_done(self.trainer), self.global_rank
        )
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Cross entropy with label smoothing; also the share of images named right.

        `batch_loss` is the mean over the batch's images, with the auxiliary head's weighted loss if
        there is one; `loss` is what Lightning is to divide by `trainer.accumulate_batches`.
        """
        pixels, targets = self.pixels(batch.images), batch.labels
        if self._mix is not None:
            pixels, targets = self._mix(pixels, targets)
        if self.auxiliary_head is None:
            logits = self.network(pixels).float()
            loss = self._loss(logits, targets)
        else:
            logits, auxiliary_logits = self._with_auxiliary_head(self.auxiliary_head, pixels)
            loss = self._loss(logits, targets)
            loss = loss + self.auxiliary_weight * self._loss(auxiliary_logits, targets)
        top1 = (logits.detach().argmax(1) == batch.labels).float().mean()
        scaled = loss * self._accumulation_factor(batch_idx)
        return {"loss": scaled, "batch_loss": loss.detach(), "top1": top1}

    def _accumulation_factor(self, batch_idx: int) -> float:
        """Makes a step of the epoch's last, fewer batches a mean over them: 1 in all others."""
        accumulated = self.trainer.accumulate_grad_batches
        first = batch_idx - batch_idx % accumulated
        return accumulated / min(accumulated, self.trainer.num_training_batches - first)

    def _with_auxiliary_head(self, head: AuxiliaryHead, pixels: Tensor) -> tuple[Tensor, Tensor]:
        for name, features in self.network.forward_stages(pixels):
            if name == AUXILIARY_STAGE:
                auxiliary_logits = head(features)
        return self.network.classify(features).float(), auxiliary_logits.float()

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        smoothing = self.plan.recipe.augmentation.label_smoothing
        return functional.cross_entropy(logits, targets, label_smoothing=smoothing)

    def on_validation_start(self) -> None:
        """Validation is not worth compiling for."""
        if self.plan.recipe.trainer.compile:
            torch.compiler.set_stance("force_eager")

    def on_validation_end(self) -> None:
        """Training goes on with what was compiled."""
        if self.plan.recipe.trainer.compile:
            torch.compiler.set_stance("default")

    @property
    def _scaler(self) -> torch.amp.GradScaler | None:
        """Of the loss, under 16-mixed on an accelerator."""
        scaler: torch.amp.GradScaler | None = getattr(self.trainer.precision_plugin, "scaler", None)
        return scaler

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """As Lightning has it, but 16-mixed unscales the gradients of fused optimizers first.

        These can unscale in their own step, so Lightning leaves it to them: gradients would still
        be scaled where they are measured and clipped.
        """
        inner = optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer

        def closure() -> Any:
            assert optimizer_closure is not None
            loss = optimizer_closure()
            if self._scaler is not None and getattr(inner, "_step_supports_amp_scaling", False):
                self._scaler.unscale_(inner)
            return loss

        super().optimizer_step(epoch, batch_idx, optimizer, closure)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by norm; Lightning's own refuses fused optimizers under mixed precision.

        `optimizer_step` has unscaled the gradients.
        """
        if gradient_clip_val:
            self.trainer.precision_plugin.clip_grad_by_norm(optimizer, gradient_clip_val)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The recipe's optimizer; its schedule advances every optimizer step."""
        optimizer = optimizers.optimizer(
            self.plan.recipe.optimizer,
            self,
            self.network.classifier,
            scaled=self._scaler is not None,
        )
        steps = self.plan.steps_per_epoch(self.trainer.world_size)
        epochs = self.plan.recipe.trainer.epochs
        factor = optimizers.schedule(self.plan.recipe.schedule, steps, epochs)
        scheduler = optimizers.scheduler(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }
