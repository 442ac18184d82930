"""--compile reaches the engine of `predict` and `eval`."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from inceptcli.networks.network import Network
from tests.cli.conftest import check_one_line, inceptcli
from tests.prediction.conftest import IDS


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A picture in the folder of its class."""
    root = tmp_path / "photos"
    (root / IDS[0]).mkdir(parents=True)
    Image.new("RGB", (80, 80), "red").save(root / IDS[0] / "0.png")
    return root


@pytest.mark.parametrize("flags", [(), ("--compile",)])
@pytest.mark.parametrize("subcommand", ["predict", "eval"])
def test_networks_are_compiled_on_request(
    subcommand: str,
    flags: tuple[str, ...],
    photos: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled: list[Network] = []
    monkeypatch.setattr(Network, "compile", lambda network: compiled.append(network))
    monkeypatch.setattr("inceptcli.prediction.engines.engine.is_cpu", lambda device: False)
    done = inceptcli(subcommand, *places(subcommand, photos, weights), "--device", "cpu", *flags)
    assert done.exit_code == 0, done.output
    assert len(compiled) == len(flags)


@pytest.mark.parametrize("subcommand", ["predict", "eval"])
def test_a_cpu_has_no_use_for_it(
    subcommand: str, photos: Path, weights: Path, onnx_weights: Path
) -> None:
    done = inceptcli(subcommand, *places(subcommand, photos, weights), "--compile")
    check_one_line(done, 2, "--compile needs a GPU; on a CPU, ONNX Runtime optimizes")
    done = inceptcli(subcommand, *places(subcommand, photos, onnx_weights), "--compile")
    check_one_line(done, 2, f"--compile: {onnx_weights} is an ONNX file")


def places(subcommand: str, photos: Path, weights: Path) -> tuple[object, ...]:
    if subcommand == "eval":
        return weights, "--data", photos
    return photos, "--weights", weights


@pytest.mark.parametrize("flag", ["--explain", "--embeddings"])
def test_what_looks_into_the_network_has_it_uncompiled(
    flag: str, photos: Path, weights: Path, tmp_path: Path
) -> None:
    place = tmp_path / ("maps" if flag == "--explain" else "photos.npy")
    done = inceptcli("predict", photos, "--weights", weights, flag, place, "--compile")
    check_one_line(done, 2, f"{flag} reads inner activations; omit --compile")
    assert not place.exists()
