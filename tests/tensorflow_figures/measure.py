"""Measure TensorFlow's own figures that the tests beside this file compare with.

    python -m tests.tensorflow_figures.measure

Needs `pip install "tensorflow-cpu<2.17" "tf_keras<2.17" tf_slim`; runs for a minute. Writes
figures.json beside this file, with the versions of both libraries.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tests.tensorflow_figures.pictures import EVALUATED, RESIZES, picture

tf: Any = import_module("tensorflow").compat.v1
slim: Any = import_module("tf_slim")
# TensorFlow looks for the layers of tf_slim where tf_keras had them once.
for layers in ("", ".normalization"):
    moved = import_module(f"tf_keras.src.legacy_tf_layers{layers}")
    sys.modules[f"tf_keras.legacy_tf_layers{layers}"] = moved

FIGURES = Path(__file__).with_name("figures.json")
DRAWS = 40_000
SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
OPS = {
    "bilinear": tf.image.resize_bilinear,
    "nearest": tf.image.resize_nearest_neighbor,
    "bicubic": tf.image.resize_bicubic,
    "area": tf.image.resize_area,
}


def crops(height: int, width: int) -> dict[str, Any]:
    """Areas (shares of the image) and aspects (width / height) of slim's training crops."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(0)
        _, size, _ = tf.image.sample_distorted_bounding_box(
            [height, width, 3],
            bounding_boxes=[[[0.0, 0.0, 1.0, 1.0]]],
            min_object_covered=0.1,
            aspect_ratio_range=(0.75, 1.33),
            area_range=(0.05, 1.0),
            max_attempts=100,
            use_image_if_no_bounding_boxes=True,
        )
        sizes = np.array([session.run(size)[:2] for _ in range(DRAWS)])
    areas, aspects = sizes.prod(axis=1) / (height * width), sizes[:, 1] / sizes[:, 0]
    return {
        "draws": DRAWS,
        "mean_area": round(float(areas.mean()), 4),
        "smallest_area": round(float(areas.min()), 4),
        # One pixel of rounding: 0.1 of the area is not a whole number of pixels.
        "share_below_tenth": float((areas < 0.0995).mean()),
        "area_quantiles": np.quantile(areas, SHARES).round(4).tolist(),
        "aspect_quantiles": np.quantile(aspects, SHARES).round(4).tolist(),
    }


def average_memory(decay: float, updates: list[int]) -> list[float]:
    """Share of the first weights in the average after so many more updates, num_updates=step."""
    with tf.Graph().as_default(), tf.Session() as session:
        weights, step = tf.Variable(1.0), tf.Variable(0)
        average = tf.train.ExponentialMovingAverage(decay, num_updates=step)
        update = average.apply([weights])
        session.run(tf.global_variables_initializer())
        value, found = tf.placeholder(tf.float32), []
        count = tf.placeholder(tf.int32)
        change, count_up = weights.assign(value), step.assign(count)
        session.run(change, {value: 0.0})
        for number in range(1, max(updates) + 1):
            session.run(count_up, {count: number})
            session.run(update)
            if number in updates:
                found.append(float(session.run(average.average(weights))))
    return found


def statistics(decay: float, updates_per_step: int, steps: list[int]) -> list[float]:
    """Moving mean, 0 at first, of a feature that is always 1, after so many steps.

    Each step, every worker (or accumulated batch) updates the statistics once.
    """
    with tf.Graph().as_default(), tf.Session() as session:
        ones, update = tf.ones([2, 3, 3, 1]), tf.no_op()
        for worker in range(updates_per_step):
            with tf.control_dependencies([update]):
                slim.batch_norm(
                    ones, decay, is_training=True, fused=False, scope="norm", reuse=worker > 0
                )
            update = tf.group(*tf.get_collection(tf.GraphKeys.UPDATE_OPS)[-2:])
        (mean,) = [v for v in tf.global_variables() if v.op.name == "norm/moving_mean"]
        session.run(tf.global_variables_initializer())
        found = []
        for number in range(1, max(steps) + 1):
            session.run(update)
            if number in steps:
                found.append(float(session.run(mean)[0]))
    return found


def resized(name: str, method: str) -> list[Any]:
    """Resize a picture by one method; values of 0 to 255, not rounded to pixels."""
    size, target = RESIZES[name]
    pixels = tf.image.convert_image_dtype(picture(size), tf.float32)
    return as_pixels(OPS[method](pixels[np.newaxis], target, align_corners=False))


def evaluation_crop() -> list[Any]:
    """Crop and resize as slim's preprocess_for_eval does; values of 0 to 255."""
    size, target = EVALUATED
    pixels = tf.image.convert_image_dtype(picture(size), tf.float32)
    middle = tf.image.central_crop(pixels, central_fraction=0.875)
    return as_pixels(tf.image.resize_bilinear(middle[np.newaxis], target, align_corners=False))


def as_pixels(images: Any) -> list[Any]:
    """Return the only image (H, W, 3) of a batch, rounded to 2 decimals."""
    values: list[Any] = (images[0].numpy() * 255).astype(float).round(2).tolist()
    return values


def main() -> None:
    """Measure, write."""
    updates, steps, decay = [1, 10, 100, 1000, 3000], [1, 10, 100], 0.9997
    sizes = [(375, 500), (96, 64)]
    found = {
        "tensorflow": version("tensorflow"),
        "tf_slim": version("tf_slim"),
        "resizes": {
            name: {method: resized(name, method) for method in OPS} for name in RESIZES
        },
        "evaluation_crop": evaluation_crop(),
        "crops": {
            "shares": SHARES,
            **{f"{height}x{width}": crops(height, width) for height, width in sizes},
        },
        "average_memory": {
            "updates": updates,
            "0.9999": average_memory(0.9999, updates),
            "0.99": average_memory(0.99, updates),
        },
        "statistics": {
            "decay": decay,
            "steps": steps,
            "20 workers": statistics(decay, 20, steps),
            "1 worker": statistics(decay, 1, steps),
        },
    }  # fmt: skip
    FIGURES.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
