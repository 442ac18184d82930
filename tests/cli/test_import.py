from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from inceptcli.cli.app import app
from inceptcli.cli.import_weights import EPILOG
from inceptcli.networks.registry import network_options
from inceptcli.weights.file import read_metadata
from inceptcli.weights.keys.key_table import layout
from inceptcli.weights.keys.timm_keys import CADENE_INCEPTION_RESNET_V2 as TABLE


@pytest.fixture(scope="module")
def cadene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cadene's Inception-ResNet-v2 with 1001 classes under a name that says nothing."""
    ours = layout(network_options(TABLE.network, num_classes=1001))
    theirs = TABLE.theirs(ours)
    path = tmp_path_factory.mktemp("cadene") / "download.bin"
    torch.save({theirs[key]: torch.zeros(value.shape) for key, value in ours.items()}, path)
    return path


def run(*arguments: str | Path) -> tuple[int, list[str]]:
    """The exit code and the lines on standard error; standard output must stay empty."""
    result = CliRunner().invoke(app, ["import", *map(str, arguments)])
    assert result.stdout == ""
    return result.exit_code, result.stderr.splitlines()


def test_import_says_what_it_recognized_and_did(cadene: Path, tmp_path: Path) -> None:
    output = tmp_path / "ours.safetensors"
    code, said = run(cadene, "--output", output)
    assert (code, said) == (
        0,
        [
            f"{cadene}: Cadene, Inception-ResNet-v2, 1000 classes",
            "dropped row 0 of the 1001-row classifier, the background class",
            "assumed for Cadene, Inception-ResNet-v2: images of 299x299, resize "
            "short-side, crop fraction 0.8975, bicubic, mean 0.5, std 0.5 (--image-size, "
            "--crop-fraction, --interpolation, --mean, --std)",
            "assumed: the 1000 classes are ImageNet's, by synset id (--classes)",
            f"sha256 of the source: {hashlib.sha256(cadene.read_bytes()).hexdigest()}",
            f"wrote {output}, irv2-tf",
        ],
    )
    metadata = read_metadata(output)
    assert metadata.network.name == "irv2-tf"
    assert metadata.classes[134].name == "crane (bird)"


def test_partial_lists_what_it_initialized_and_quiet_says_nothing(
    cadene: Path, tmp_path: Path
) -> None:
    tensors = torch.load(cadene)
    for key in list(tensors):
        if key.startswith("mixed_7a.branch2"):
            del tensors[key]
    source = tmp_path / "source.pth"
    torch.save(tensors, source)
    code, (line,) = run(source, "--output", tmp_path / "ours.safetensors")
    assert code == 1
    assert "15 missing: mixed_7a.branch2.0.conv.weight" in line
    assert not (tmp_path / "ours.safetensors").exists()
    code, said = run(source, "--output", tmp_path / "ours.safetensors", "--partial")
    assert code == 0
    (listed,) = [line for line in said if "initialized" in line]
    assert "15 missing tensors initialized: reduction_b.twice.0.conv.weight, " in listed
    assert listed.endswith(", ...")
    output = tmp_path / "again.safetensors"
    assert run(source, "--output", output, "--partial", "--quiet") == (0, [])


def test_wrong_use_is_one_line(cadene: Path, tmp_path: Path) -> None:
    output = tmp_path / "ours.safetensors"
    expected = {
        (tmp_path / "missing.pth", output): "no such file; give a weights file",
        (tmp_path, output): "is a folder; give a weights file",
        (cadene, tmp_path): "is a folder; give a file name",
        (cadene, tmp_path / "no/ours.safetensors"): f"no folder {tmp_path / 'no'}",
        (cadene, cadene): f"is also the input {cadene}; give another file",
    }
    for (source, given), reason in expected.items():
        code, (line,) = run(source, "--output", given)
        assert (code, line.endswith(reason)) == (2, True), line


def test_a_folder_that_cannot_be_written_is_wrong_use(
    cadene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda _path, mode: mode != os.W_OK)
    code, (line,) = run(cadene, "--output", tmp_path / "ours.safetensors")
    assert (code, line.endswith("not writable")) == (2, True)


def test_a_full_disk_is_one_line(
    cadene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("inceptcli.weights.foreign.importing.convert", fail)
    output = tmp_path / "ours.safetensors"
    assert run(cadene, "--output", output) == (1, [f"Error: {output}: No space left on device"])


@pytest.mark.parametrize("arguments", [("missing.pth", "--output", "out"), ("--help",)])
def test_usage_errors_and_help_import_no_torch(arguments: tuple[str, ...]) -> None:
    code = (
        "import sys\n"
        "from inceptcli.cli.app import app\n"
        "try:\n"
        "    app(sys.argv[1:])\n"
        "finally:\n"
        "    print('torch' in sys.modules, 'h5py' in sys.modules)\n"
    )
    command = [sys.executable, "-c", code, "import", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stdout.splitlines()[-1] == "False False"


def test_examples_are_commands_of_this_file() -> None:
    examples = [line for line in EPILOG.splitlines() if line.startswith("  ")]
    assert len(examples) == 7
    assert all(line.startswith("  inceptcli import ") for line in examples)
