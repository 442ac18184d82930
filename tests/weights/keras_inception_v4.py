"""The community's Inception-v4 in Keras: its graph, and files of it as its authors saved them.

Source: https://github.com/kentsommer/keras-inceptionV4 and https://github.com/titu1994/Inception-v4,
which agree. Run as a program, it saves what `keras_reference` saves of InceptionResNetV2.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch

from tests.weights.keras_reference import make_able_to_fail
from tests.weights.parity import CLASSES

Unit = tuple[int, str] | tuple[int, str, int]
"""Filters, kernel and, of convolutions that are valid, stride."""

POOL = keras.layers.AveragePooling2D
INCEPTION_A: list[list[Unit]] = [
    [(96, "1x1")],
    [(64, "1x1"), (96, "3x3")],
    [(64, "1x1"), (96, "3x3"), (96, "3x3")],
]
INCEPTION_B: list[list[Unit]] = [
    [(384, "1x1")],
    [(192, "1x1"), (224, "1x7"), (256, "7x1")],
    [(192, "1x1"), (192, "7x1"), (224, "1x7"), (224, "7x1"), (256, "1x7")],
]
REDUCTION_A: list[list[Unit]] = [[(384, "3x3", 2)], [(192, "1x1"), (224, "3x3"), (256, "3x3", 2)]]
REDUCTION_B: list[list[Unit]] = [
    [(192, "1x1"), (192, "3x3", 2)],
    [(256, "1x1"), (256, "1x7"), (320, "7x1"), (320, "3x3", 2)],
]


def convolved(x: Any, *units: Unit) -> Any:
    for filters, kernel, *stride in units:
        x = keras.layers.Conv2D(
            filters,
            tuple(map(int, kernel.split("x"))),
            strides=(stride or [1])[0],
            padding="valid" if stride else "same",
            use_bias=False,
        )(x)
        x = keras.layers.BatchNormalization(scale=False)(x)
        x = keras.layers.Activation("relu")(x)
    return x


def joined(*branches: Any) -> Any:
    return keras.layers.Concatenate()(list(branches))


def pooled(x: Any) -> Any:
    return keras.layers.MaxPooling2D(3, strides=2)(x)


def module(branches: list[list[Unit]], filters: int, x: Any) -> Any:
    found = [convolved(x, *units) for units in branches]
    return joined(*found, convolved(POOL(3, strides=1, padding="same")(x), (filters, "1x1")))


def reduction(branches: list[list[Unit]], x: Any) -> Any:
    return joined(*[convolved(x, *units) for units in branches], pooled(x))


def inception_c(x: Any) -> Any:
    direct = convolved(x, (256, "1x1"))
    once = convolved(x, (384, "1x1"))
    once = joined(convolved(once, (256, "1x3")), convolved(once, (256, "3x1")))
    twice = convolved(x, (384, "1x1"), (448, "3x1"), (512, "1x3"))
    twice = joined(convolved(twice, (256, "1x3")), convolved(twice, (256, "3x1")))
    last = convolved(POOL(3, strides=1, padding="same")(x), (256, "1x1"))
    return joined(direct, once, twice, last)


def features(images: Any) -> Any:
    x = convolved(images, (32, "3x3", 2), (32, "3x3", 1), (64, "3x3"))
    x = joined(pooled(x), convolved(x, (96, "3x3", 2)))
    short = convolved(x, (64, "1x1"), (96, "3x3", 1))
    x = joined(short, convolved(x, (64, "1x1"), (64, "1x7"), (64, "7x1"), (96, "3x3", 1)))
    x = joined(convolved(x, (192, "3x3", 2)), pooled(x))
    modules: list[tuple[int, Callable[[Any], Any]]] = [
        (4, partial(module, INCEPTION_A, 96)),
        (1, partial(reduction, REDUCTION_A)),
        (7, partial(module, INCEPTION_B, 128)),
        (1, partial(reduction, REDUCTION_B)),
        (3, inception_c),
    ]
    for count, step in modules:
        for _ in range(count):
            x = step(x)
    return x


def inception_v4(num_classes: int, activation: str | None = None) -> Any:
    images = keras.layers.Input((299, 299, 3))
    x = keras.layers.AveragePooling2D(8)(features(images))
    x = keras.layers.Flatten()(keras.layers.Dropout(0.2)(x))
    return keras.Model(images, keras.layers.Dense(num_classes, activation=activation)(x))


def nested(model: Any) -> Any:
    """Another classifier on the features of `model`, in a model of their own, partly frozen."""
    images = keras.layers.Input((224, 224, 3))
    base = keras.Model(images, features(images))
    base.set_weights(model.get_weights()[:-2])
    for layer in base.layers[:200]:
        layer.trainable = False
    layers = keras.layers
    whole = [layers.RandomFlip(seed=1), layers.Rescaling(1 / 255), base]
    head = [layers.GlobalAveragePooling2D(), layers.Dropout(0.1, seed=1), layers.Dense(3)]
    found = keras.Sequential([layers.Input((None, None, 3)), *whole, *head])
    found.compile("adam", "mse")
    return found


def main(folder: Path) -> None:
    keras.utils.set_random_seed(0)
    model = inception_v4(CLASSES)
    make_able_to_fail(model, np.load(folder / "train.npy"))
    model.save_weights(folder / "v4.weights.h5")
    model.save(folder / "v4.h5")
    outer = nested(model)
    outer.save(folder / "nested.keras")
    outer.save(folder / "nested.h5")
    outer.save_weights(folder / "nested.weights.h5")
    images = np.load(folder / "299x299.npy")
    with torch.no_grad():
        np.save(folder / "v4-logits", keras.ops.convert_to_numpy(model(images, training=False)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
