"""LightningModules: ImageClassifier for inference and metrics, Classifier for training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanMetric, Metric

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
from inceptcli.training.fine_tuning import freeze_parts, frozen_parts
from inceptcli.training.loss import TrainingLoss
from inceptcli.training.multi_label_metrics import MultiLabelMetrics
from inceptcli.training.plan import Plan
from inceptcli.weights.file import load_network, resolve
from inceptcli.weights.metadata import ClassName

MEASURES = ("loss", "top1", "top5", "macro_f1", "balanced_accuracy")


def momentum_of_batch(momentum: float, updates: int, batches: int) -> float:
    """Return the momentum with which `batches` keep as much as `updates` with `momentum` do."""
    kept: float = (1 - momentum) ** (updates / batches)
    return 1 - kept


class _ClassCounts(Metric):
    """Images of each class, predictions of it, and correct ones, summed over all ranks.

    torchmetrics' own classes count pairs in tensors of classes x classes at each batch.
    """

    full_state_update = False
    images: Tensor
    predicted: Tensor
    right: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        for name in ("images", "predicted", "right"):
            self.add_state(name, torch.zeros(num_classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, labels: Tensor) -> None:
        """Add a batch: indices of classes (N,); unlike bincount, without synchronization."""
        ones = torch.ones_like(labels)
        self.images.index_add_(0, labels, ones)
        self.predicted.index_add_(0, predicted, ones)
        self.right.index_add_(0, labels, (predicted == labels).long())


class MacroF1(_ClassCounts):
    """Mean F1 of the classes that occur among labels or predictions, as in `eval`."""

    def compute(self) -> Tensor:
        """Return the mean."""
        either = self.images + self.predicted
        return (2 * self.right / either)[either > 0].mean()


class BalancedAccuracy(_ClassCounts):
    """Mean recall of the classes that occur among the labels, as in `eval`."""

    def compute(self) -> Tensor:
        """Return the mean."""
        return (self.right / self.images)[self.images > 0].mean()


class ClassifierMetrics(nn.Module):
    """Measures of `eval` (0 to 1) and a loss, exact over all ranks.

    The loss is the cross-entropy of the softmax without label smoothing, also of sigmoid outputs,
    so that it selects the best weights.
    """

    thresholds: list[float] | None = None

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        # Checking for NaN would synchronize at each batch, and would drop such losses.
        self.loss, self.top1, self.top5 = (MeanMetric(nan_strategy="disable") for _ in range(3))
        self.macro_f1, self.balanced_accuracy = MacroF1(num_classes), BalancedAccuracy(num_classes)

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits (N, classes) and labels (N,)."""
        predicted = logits.topk(min(5, logits.shape[1]), dim=1).indices
        best = predicted == labels[:, None]
        self.loss.update(functional.cross_entropy(logits, labels, reduction="none"))
        self.top1.update(best[:, 0].float())
        self.top5.update(best.any(dim=1).float())
        self.macro_f1.update(predicted[:, 0], labels)
        self.balanced_accuracy.update(predicted[:, 0], labels)

    def named(self, part: str) -> dict[str, Metric]:
        """Return the metrics as PART_loss, PART_top1 and so on."""
        return {f"{part}_{name}": getattr(self, name) for name in MEASURES}

    def results(self, part: str, trainer: Trainer) -> dict[str, float]:
        """Return the values of `named` over all ranks, and reset them."""
        results = {}
        for name, metric in self.named(part).items():
            results[name] = float(metric.compute())
            metric.reset()
        return results


class ImageClassifier(LightningModule):
    """LightningModule for `validate`, `test` and `predict` with Lightning's Trainer.

    A batch is a Batch, or starts with uint8 images (N, 3, H, W), cropped as `preprocessing`
    defines, and labels (N,), indices into `classes`; or, for multi-label weights, (N, classes) of 0
    and 1. `predict` also accepts images alone. `thresholds` are those of multi-label weights.
    """

    def __init__(
        self,
        network: nn.Module,
        classes: Sequence[ClassName],
        preprocessing: Preprocessing,
        *,
        is_multi_label: bool = False,
        thresholds: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.classes, self.preprocessing = network, classes, preprocessing
        self.val_measures, self.test_measures = (
            MultiLabelMetrics(len(classes), thresholds)
            if is_multi_label
            else ClassifierMetrics(len(classes))
            for _ in range(2)
        )

    @classmethod
    def load(cls, weights: Path | str) -> Self:
        """Load a weights file or run directory for inference.

        Raises UsageError when there is none, UserError when it cannot be read or has no trained
        classifier.
        """
        path = resolve(Path(weights))
        network, metadata = load_network(path)
        if not metadata.has_classifier:
            raise UserError(f"{path}: has no trained classifier")
        network = network.to(memory_format=torch.channels_last)
        return cls(
            network,
            metadata.classes,
            metadata.preprocessing,
            is_multi_label=metadata.is_multi_label,
            thresholds=metadata.thresholds,
        )

    def pixels(self, images: Tensor) -> Tensor:
        """Normalize images (N, 3, H, W), uint8, to network input (N, C, H, W), float32."""
        if images.dtype != torch.uint8:
            raise ValueError(
                f"images must be uint8, 0 to 255, got {images.dtype}; they are normalized here"
            )
        return normalize(images, self.preprocessing.mean, self.preprocessing.std)

    def forward(self, images: Tensor) -> Tensor:
        """Classify images (N, 3, H, W), uint8; return logits (N, classes), float32."""
        logits: Tensor = self.network(self.pixels(images)).float()
        return logits

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Update the validation metrics."""
        self._measure(batch, self.val_measures)

    def validation_results(self) -> dict[str, float]:
        """Return val_loss and the other measures over all ranks, and reset them."""
        return self.val_measures.results("val", self.trainer)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Update the test metrics.

        Raises UserError for an image that cannot be read.
        """
        self._check_whole(batch)
        self._measure(batch, self.test_measures)

    def on_test_epoch_end(self) -> None:
        """Log test_loss and the other measures over all ranks, computed as in validation."""
        self.log_dict(self.test_measures.results("test", self.trainer), rank_zero_only=True)

    def predict_step(self, batch: Batch | Tensor, batch_idx: int) -> Tensor:
        """Return logits (N, classes), float32, in input order.

        Raises UserError for an image that cannot be read.
        """
        self._check_whole(batch)
        images = batch if isinstance(batch, Tensor) else batch[0]
        logits: Tensor = self(images)
        return logits

    def _measure(self, batch: Batch, measures: ClassifierMetrics | MultiLabelMetrics) -> None:
        images, labels = batch[:2]
        if len(labels):
            measures.update(self(images), labels)

    def _check_whole(self, batch: Batch | Tensor) -> None:
        """Raise UserError if `collate` dropped an image, which would shift the rows."""
        if isinstance(batch, Batch) and batch.skipped:
            number, reason = batch.skipped[0]
            raise UserError(f"image {number} of the loader's dataset cannot be read: {reason}")


class Classifier(ImageClassifier):
    """LightningModule that trains and validates `network` on batches of uint8 images."""

    network: Network

    def __init__(self, network: Network, plan: Plan) -> None:
        super().__init__(
            network, plan.classes, plan.preprocessing, is_multi_label=plan.is_multi_label
        )
        self.plan = plan
        self._frozen = frozen_parts(network, plan.recipe.network.freeze)
        freeze_parts(self._frozen)
        self.auxiliary_weight = plan.recipe.network.auxiliary_weight or 0.0
        self.auxiliary_head = AuxiliaryHead(network.options) if self.auxiliary_weight else None
        augmentation = plan.recipe.augmentation
        self._loss = TrainingLoss(
            plan.recipe.loss, plan.class_weights, augmentation.label_smoothing
        )
        self._mix = mixing(augmentation.mixup, augmentation.cutmix, plan.network.num_classes)

    def train(self, mode: bool = True) -> Classifier:
        """Set training mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        freeze_parts(self._frozen)
        return self

    def pixels(self, images: Tensor) -> Tensor:
        """Normalize images, but not the features (N, C, 1, 1) that replace them."""
        return images if _are_features(images) else super().pixels(images)

    def forward(self, images: Tensor) -> Tensor:
        """Classify uint8 images or the features that replace them; return logits (N, classes)."""
        return self._classified(self.pixels(images))

    def _classified(self, pixels: Tensor) -> Tensor:
        read = self.network.classify if _are_features(pixels) else self.network
        logits: Tensor = read(pixels).float()
        return logits

    def on_fit_start(self) -> None:
        """Set batch norm's momentum for `trainer.batch_norm_updates` per step."""
        updates = self.plan.recipe.trainer.batch_norm_updates
        if updates is None:
            return
        batches = self.plan.accumulated_batches(self.trainer.world_size)
        momentum = momentum_of_batch(self.network.options.batch_norm_momentum, updates, batches)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = momentum

    def on_train_start(self) -> None:
        """Follow the schedule from the first step on, which a resumed run may have changed."""
        scheduler = self.lr_schedulers()
        assert isinstance(scheduler, LambdaLR)
        rates = zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
        for group, (rate, factor) in zip(scheduler.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor(scheduler.last_epoch)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout by (seed, batches processed, rank), so that no state needs saving."""
        seed = seed_from(
            self.plan.recipe.trainer.seed, batches_done(self.trainer), self.global_rank
        )
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return the recipe's loss with label smoothing, and top-1 accuracy or F1 of the batch.

        `batch_loss` is the mean over the batch, including the weighted loss of the auxiliary head
        if there is one; Lightning divides `loss` by `trainer.accumulate_batches`.
        """
        pixels, targets = self.pixels(batch.images), batch.labels
        if self._mix is not None:
            pixels, targets = self._mix(pixels, targets)
        if self.auxiliary_head is None:
            logits = self._classified(pixels)
            loss = self._loss(logits, targets)
        else:
            logits, auxiliary_logits = self._with_auxiliary_head(self.auxiliary_head, pixels)
            loss = self._loss(logits, targets)
            loss = loss + self.auxiliary_weight * self._loss(auxiliary_logits, targets)
        scaled = loss * self._accumulation_factor(batch_idx)
        accuracy = batch_accuracy(logits.detach(), batch.labels)
        return {"loss": scaled, "batch_loss": loss.detach(), "accuracy": accuracy}

    def _accumulation_factor(self, batch_idx: int) -> float:
        """Return the factor that averages an epoch's last step over its fewer batches; else 1."""
        accumulated = self.trainer.accumulate_grad_batches
        first = batch_idx - batch_idx % accumulated
        return accumulated / min(accumulated, self.trainer.num_training_batches - first)

    def _with_auxiliary_head(self, head: AuxiliaryHead, pixels: Tensor) -> tuple[Tensor, Tensor]:
        for name, features in self.network.forward_stages(pixels):
            if name == AUXILIARY_STAGE:
                auxiliary_logits = head(features)
        return self.network.classify(features).float(), auxiliary_logits.float()

    def on_validation_start(self) -> None:
        """Run validation without torch.compile."""
        if self.plan.recipe.trainer.compile:
            torch.compiler.set_stance("force_eager")

    def on_validation_end(self) -> None:
        """Return to the compiled network."""
        if self.plan.recipe.trainer.compile:
            torch.compiler.set_stance("default")

    @property
    def _scaler(self) -> torch.amp.GradScaler | None:
        """Return the loss scaler of 16-mixed on an accelerator."""
        scaler: torch.amp.GradScaler | None = getattr(self.trainer.precision_plugin, "scaler", None)
        return scaler

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | LightningOptimizer,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Run the optimizer step; unscale the gradients of fused optimizers first (16-mixed).

        Fused optimizers unscale in their own step, so Lightning would pass scaled gradients to
        norms and clipping.
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
        """Clip gradients by norm after `optimizer_step` has unscaled them.

        Lightning's own method rejects fused optimizers in mixed precision.
        """
        if gradient_clip_val:
            self.trainer.precision_plugin.clip_grad_by_norm(optimizer, gradient_clip_val)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return the recipe's optimizer and its schedule, which advances every optimizer step."""
        optimizer = optimizers.optimizer(
            self.plan.recipe.optimizer,
            self,
            self.network,
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


def _are_features(images: Tensor) -> bool:
    """Return whether features of a frozen network replace the images (see Features)."""
    return images.is_floating_point() and images.shape[-2:] == (1, 1)


def batch_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return top-1 accuracy for labels (N,), micro F1 at 0.5 for labels (N, classes) of 0 and 1."""
    if labels.ndim == 1:
        return (logits.argmax(1) == labels).float().mean()
    predicted = logits > 0
    right = (predicted * labels).sum()
    return 2 * right / (predicted.sum() + labels.sum()).clamp(min=1)
