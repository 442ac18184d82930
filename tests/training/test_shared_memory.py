from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from lightning.pytorch import Trainer
from torch.utils.data import SequentialSampler

from inceptcli.data.loading import shared_memory
from inceptcli.data.loading.dataset import EvaluationDataset
from inceptcli.recipe.file import override
from inceptcli.recipe.schema import check
from inceptcli.training.plan import plan
from inceptcli.training.run import _data
from tests.training.conftest import TINY

BATCH = 4 * 75 * 75 * 3


@pytest.mark.parametrize(
    ("batches", "workers", "prefetched", "said"),
    [
        (2, 1, 1, ["data.workers 1, not 2"]),
        (3, 2, 1, []),
        (5, 2, 2, []),
        (1, 0, None, ["data.workers 0, not 2"]),
    ],
)
def test_a_run_has_no_more_workers_than_shared_memory_holds_batches(
    batches: int,
    workers: int,
    prefetched: int | None,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
    notices: list[str],
) -> None:
    free = SimpleNamespace(free=batches * BATCH)
    monkeypatch.setattr(shared_memory, "disk_usage", lambda path: free)
    planned = plan(check(override(TINY, {"data.workers": 2})))
    trainer = cast(Trainer, SimpleNamespace(num_devices=1))
    data = _data(planned, trainer)
    images = EvaluationDataset(data.val, data.preprocessing)
    sampler: Any = SequentialSampler(images)
    loader = data.loader(images, sampler=sampler, batch_size=data.batch_size)
    assert (loader.num_workers, loader.prefetch_factor) == (workers, prefetched)
    assert [line.partition(":")[0] for line in notices] == said
