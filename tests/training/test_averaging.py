from __future__ import annotations

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from inceptcli.training.averaging import ParameterAverage


def test_the_memory_of_the_average_warms_up() -> None:
    average = ParameterAverage(0.99, warm_up=True)
    assert [average.decay_at(update) for update in (0, 1, 90, 10_000)] == [
        0.1,
        2 / 11,
        0.91,
        0.99,
    ]
    assert ParameterAverage(0.99, warm_up=False).decay_at(0) == 0.99


def test_parameters_and_statistics_are_averaged_and_counters_copied() -> None:
    network = nn.BatchNorm2d(1)
    assert network.running_var is not None
    assert network.num_batches_tracked is not None
    average = ParameterAverage(0.75, warm_up=False)
    model = AveragedModel(network, multi_avg_fn=average._average, use_buffers=True)
    with torch.no_grad():
        for value in (1.0, 5.0):
            network.weight.fill_(value)
            network.running_var.fill_(2 * value)
            network.num_batches_tracked.fill_(int(value))
            model.update_parameters(network)
    averaged = {name: tensor.item() for name, tensor in model.module.state_dict().items()}
    assert averaged["weight"] == 2.0  # 0.75 * 1 + 0.25 * 5
    assert averaged["running_var"] == 4.0
    assert averaged["num_batches_tracked"] == 5
