"""Runs Keras in a process of its own: makes weights that can fail, saves them, notes the logits.

Arguments: a folder with `train.npy` and one `HxW.npy` for each size, all (N, H, W, 3).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch

from tests.weights.parity import CLASSES


def make_able_to_fail(model: Any, images: np.ndarray[Any, Any]) -> None:
    """The same as for PyTorch's networks; see `parity.make_able_to_fail`."""
    generator = np.random.default_rng(1)
    norms = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            shape = layer.kernel.shape
            deviation = np.sqrt(2 / np.prod(shape[:3]))
            layer.kernel.assign(generator.normal(0, deviation, shape))
        elif isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
            norms.append(layer)
    with torch.no_grad():
        model(images, training=True)
    for norm in norms:
        shape = norm.beta.shape
        norm.beta.assign(generator.normal(0, 0.1, shape))
        for variable in (norm.moving_mean, norm.moving_variance):
            amount = generator.uniform(0.10, 0.25, shape) * generator.choice((-1, 1), shape)
            variable.assign(keras.ops.convert_to_numpy(variable) * (1 + amount))
    with torch.no_grad():
        model.layers[-1].bias.assign_sub(model(images, training=False).mean(0))


def main(folder: Path) -> None:
    keras.utils.set_random_seed(0)
    network = keras.applications.InceptionResNetV2
    # Built first, so that Keras goes on counting layers in the second; takes any size.
    features = network(weights=None, include_top=False, pooling="avg", input_shape=(None, None, 3))
    model = network(weights=None, classes=CLASSES, classifier_activation=None)
    make_able_to_fail(model, np.load(folder / "train.npy"))
    model.save_weights(folder / "keras.weights.h5")
    model.save(folder / "keras.h5")
    *shared, kernel, bias = model.get_weights()
    features.set_weights(shared)
    for path in folder.glob("*x*.npy"):
        images = np.load(path)
        with torch.no_grad():
            if images.shape[1:3] == model.input_shape[1:3]:
                logits = keras.ops.convert_to_numpy(model(images, training=False))
            else:
                pooled = keras.ops.convert_to_numpy(features(images, training=False))
                logits = pooled @ kernel + bias
        np.save(folder / f"logits-{path.stem}", logits)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
