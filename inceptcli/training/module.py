"""The LightningModule: a network, its loss, its metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn import functional
from torch.optim import Optimizer
from torchmetrics import MeanMetric

from inceptcli.data.augmentation import mixing
from inceptcli.data.datamodule import batches_done
from inceptcli.data.dataset import Batch
from inceptcli.data.normalization import normalize
from inceptcli.data.sampler import seed_from
from inceptcli.networks.auxiliary_head import AUXILIARY_STAGE, AuxiliaryHead
from inceptcli.networks.network import Network
from inceptcli.training import optimizers
from inceptcli.training.fine_tuning import frozen_parts, keep
from inceptcli.training.plan import Plan


class Classifier(LightningModule):
    """Trains and validates `network` on batches of uint8 images."""

    def __init__(self, network: Network, plan: Plan) -> None:
        super().__init__()
        self.network, self.plan = network, plan
        self._kept = frozen_parts(network, plan.recipe.network.freeze)
        keep(self._kept)
        self.auxiliary_weight = plan.recipe.network.auxiliary_weight or 0.0
        self.auxiliary_head = AuxiliaryHead(network) if self.auxiliary_weight else None
        augmentation = plan.recipe.augmentation
        self._mix = mixing(augmentation.mixup, augmentation.cutmix, plan.network.num_classes)
        self.val_loss, self.val_top1, self.val_top5 = MeanMetric(), MeanMetric(), MeanMetric()

    def train(self, mode: bool = True) -> Classifier:
        """As torch has it, but frozen parts stay in evaluation mode."""
        super().train(mode)
        keep(self._kept)
        return self

    def pixels(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W), uint8 -> what the network reads (N, C, H, W)."""
        return normalize(images, self.plan.preprocessing.mean, self.plan.preprocessing.std)

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

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss without smoothing, top-1 and top-5 of each image; summed exactly over all ranks."""
        if not len(batch.labels):
            return
        logits = self.network(self.pixels(batch.images)).float()
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices == batch.labels[:, None]
        self.val_loss.update(functional.cross_entropy(logits, batch.labels, reduction="none"))
        self.val_top1.update(best[:, 0].float())
        self.val_top5.update(best.any(dim=1).float())

    def validation_results(self) -> dict[str, float]:
        """val_loss, val_top1, val_top5 (fractions) over all ranks; forgets them afterwards."""
        results = {}
        for name in ("val_loss", "val_top1", "val_top5"):
            metric: MeanMetric = getattr(self, name)
            results[name] = float(metric.compute())
            metric.reset()
        return results

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
