"""Measure parameters, weight decay and initial weights of TF-slim's networks.

    python -m tests.tensorflow_figures.measure_networks SLIM

SLIM is the folder research/slim of github.com/tensorflow/models; networks.json is of a copy of it,
github.com/lizhaoliu-Lec/slim. Needs `pip install
"tensorflow-cpu<2.17" "tf_keras<2.17" tf_slim`; runs for a minute. Writes networks.json beside this
file, with the versions of both libraries.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.tensorflow_figures.measure import slim, tf

NETWORKS = Path(__file__).with_name("networks.json")


def variable_of(operation: Any, names: set[str]) -> str:
    """Return the variable among `names` that an operation depends on, as a decay does."""
    waiting = [operation]
    while waiting:
        one = waiting.pop()
        if one.name in names:
            return str(one.name)
        waiting += [each.op for each in one.inputs]
    raise ValueError(f"{operation.name} depends on no trained variable")


def network(module: str) -> dict[str, Any]:
    """Trained parameters and those that decay; of each weight its deviation and largest value."""
    code = import_module(f"nets.{module}")
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(0)
        with slim.arg_scope(getattr(code, f"{module}_arg_scope")()):
            images = tf.zeros((1, 299, 299, 3))
            getattr(code, module)(images, num_classes=1000, is_training=False)
        variables = {variable.op.name: variable for variable in tf.trainable_variables()}
        sizes = {name: value.shape.num_elements() for name, value in variables.items()}
        losses = tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)
        decaying = {variable_of(loss.op, set(variables)) for loss in losses}
        weights = {name: each for name, each in variables.items() if name.endswith("weights")}
        session.run([each.initializer for each in weights.values()])
        drawn = session.run(weights)
    return {
        "parameters": sum(sizes[name] for name in sizes if "AuxLogits" not in name),
        "auxiliary_parameters": sum(sizes[name] for name in sizes if "AuxLogits" in name),
        "kinds": sorted({name.rpartition("/")[2] for name in sizes}),
        "decaying_biases": sorted(name for name in decaying if name.endswith("biases")),
        "decaying": len(decaying),
        "weights": {
            name: [round(float(value.std()), 6), round(float(abs(value).max()), 6)]
            for name, value in sorted(drawn.items())
        },
    }


def main() -> None:
    """Measure both networks and write the file."""
    sys.path.insert(0, sys.argv[1])
    tf.contrib = SimpleNamespace(slim=slim)  # older files import both as they once were
    sys.modules["tensorflow"] = tf
    found = {name: network(name) for name in ("inception_v4", "inception_resnet_v2")}
    versions = {name: version(name) for name in ("tensorflow", "tf_slim")}
    lines = json.dumps(versions | found, indent=1).replace("[\n    ", "[").replace(",\n    ", ", ")
    NETWORKS.write_text(lines.replace("\n   ]", "]") + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
