"""What cannot go to timm; the round trip is in test_importing_parity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.errors import UserError
from inceptcli.networks.registry import network_options
from inceptcli.weights import timm_export as exporting
from inceptcli.weights.file import save
from inceptcli.weights.keys.key_table import layout
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from inceptcli.weights.timm_export import to_timm


def weights(path: Path, name: str, **changes: Any) -> Path:
    options = network_options(name, num_classes=2, **changes)
    tensors = {
        key: torch.zeros(value.shape, dtype=value.dtype) for key, value in layout(options).items()
    }
    classes = (ClassName("a", "a"), ClassName("b", "b"))
    save(path, tensors, WeightsMetadata(options, classes, Preprocessing((299, 299))))
    return path


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("irv1", {"repeats": [1, 1, 1]}, "timm does not have irv1, only iv4-tf, irv2-tf and iv3$"),
        (
            "iv4-tf",
            {"repeats": [1, 1, 1]},
            "released width, repeats, residual scales and batch norm epsilon",
        ),
        ("irv2-tf", {"batch_norm_eps": 1e-5}, "batch norm epsilon, and count_padding False$"),
        ("iv4-tf", {"count_padding": True}, "timm has iv4-tf only with .* count_padding False$"),
        ("iv3", {}, "timm has iv3 only with .* count_padding True$"),
    ],
)
def test_networks_that_timm_lacks_are_refused(
    name: str, changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    path = weights(tmp_path / "ours.safetensors", name, **changes)
    with pytest.raises(UserError, match=reason):
        to_timm(path, tmp_path / "timm.safetensors")
    assert list(tmp_path.iterdir()) == [path]


def test_what_does_not_read_back_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_back_with_a_changed_bit(path: Path) -> dict[str, torch.Tensor]:
        tensors = load_file(path)
        tensors["last_linear.bias"][1] = 1e-30
        return tensors

    path = weights(tmp_path / "ours.safetensors", "iv4-tf", dropout=0.5)
    assert to_timm(path, tmp_path / "timm.safetensors").num_tensors == 896
    (tmp_path / "timm.safetensors").unlink()
    monkeypatch.setattr(exporting, "load_file", read_back_with_a_changed_bit)
    with pytest.raises(UserError, match="read back differ from those written"):
        to_timm(path, tmp_path / "timm.safetensors")
    assert list(tmp_path.iterdir()) == [path]
