from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from inceptcli.errors import UsageError, UserError
from inceptcli.prediction.engine import load_engine
from inceptcli.prediction.torch_engine import TorchEngine
from tests.compiler import needs_compiler
from tests.prediction.test_torch_engine import random_crops


@pytest.fixture(autouse=True)
def forget_what_was_compiled() -> Iterator[None]:
    yield
    torch.compiler.reset()


@pytest.mark.slow
@needs_compiler
def test_a_compiled_network_gives_the_same_logits(weights: Path, engine: TorchEngine) -> None:
    from torch._dynamo.utils import counters

    counters.clear()
    compiled = TorchEngine.load(weights, "cpu", compile_network=True, at_once=3)
    crops = random_crops(3)
    np.testing.assert_allclose(compiled.logits(crops), engine.logits(crops), atol=1e-4)
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
    with torch.profiler.profile() as profile:
        compiled.logits(crops)
    computed = {event.key for event in profile.key_averages()}
    assert "mkldnn::_convolution_pointwise" in computed  # of weights that were laid out before
    assert "aten::mkldnn_convolution" not in computed


def test_without_a_compiler_there_is_one_line(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch._inductor.config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # where nothing is compiled yet
    compiled = TorchEngine.load(weights, "cpu", compile_network=True)
    says = r"torch\.compile fails: .*; on a CPU it needs a C\+\+"
    with (
        torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}),
        pytest.raises(UserError, match=says) as raised,
    ):
        compiled.logits(random_crops(1))
    assert "\n" not in str(raised.value)


def test_an_onnx_file_is_not_compiled(onnx_weights: Path) -> None:
    with pytest.raises(UsageError, match=r"--compile: .* is an ONNX file"):
        load_engine(onnx_weights, "cpu", compile_network=True)
