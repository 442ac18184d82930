from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from inceptcli.errors import UsageError
from inceptcli.networks.registry import NETWORKS
from inceptcli.weights.fetched.published import (
    find_weights,
    published_name,
    published_preprocessing,
)
from inceptcli.weights.fetched.published_names import PUBLISHED, Published

# The command line in a process of its own; the last line says what it imported.
COMMAND_LINE = """
import sys
from inceptcli.cli.app import app
try:
    app()
finally:
    print({"torch", "huggingface_hub"} & set(sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("weights", "meant"),
    [
        ("imagenet", Published("imagenet", "irv2-tf")),
        ("ens-adv", Published("ens-adv", "irv2-tf")),
        ("iv4-tf:imagenet", Published("imagenet", "iv4-tf")),
        ("./imagenet", None),
        ("runs/imagenet", None),
        ("iv4-tf", None),
    ],
)
def test_a_name_without_a_separator_is_a_published_one(
    weights: str, meant: Published | None
) -> None:
    assert published_name(weights) == meant
    assert meant is None or meant in PUBLISHED


def test_a_folder_of_that_name_is_meant_with_a_separator_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imagenet").mkdir()
    (tmp_path / "imagenet" / "model.safetensors").touch()
    assert find_weights("./imagenet") == Path("imagenet/model.safetensors")


@pytest.mark.parametrize(
    ("weights", "network", "said"),
    [
        (
            "imagenet",
            "irv2",
            r"published for irv2, the network as printed in the paper.*another stem.*use irv",
        ),
        ("imagenet", "iv4", r"only for iv4-tf \(.* 1xn and nx1 swapped in places\); use iv4-tf"),
        ("imagenet", "irv1", r"published for irv1, only for iv4-tf, irv2-tf"),
        ("ens-adv", "iv4-tf", r"published for iv4-tf, only for irv2-tf"),
        ("resnet:ens-adv", "irv2-tf", r"published for resnet, only for irv2-tf"),
    ],
)
def test_weights_for_a_network_that_has_none_name_one_that_has(
    weights: str, network: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        published_name(weights, network)


def test_the_papers_network_with_published_weights_is_refused_before_anything_is_fetched(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMMAND_LINE, "train", "--arch", "irv2", "--init", "imagenet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    error, imported = done.stderr.splitlines()
    assert done.returncode == 2
    assert error.startswith("Error: imagenet: no weights are published for irv2, ")
    assert error.endswith("use irv2-tf")
    assert imported == "set()"
    assert not list(tmp_path.iterdir())


def test_weights_of_another_network_than_is_trained_are_refused_before_they_are_fetched(
    tmp_path: Path,
) -> None:
    arguments = ["train", "--arch", "iv4-tf", "--init", "irv2-tf:imagenet"]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND_LINE, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines() == [
        "Error: --arch or network.name iv4-tf: --init irv2-tf:imagenet has weights of name "
        "irv2-tf; leave it out to use that of the weights",
        "set()",
    ]


def test_every_network_with_published_weights_has_its_own_crop() -> None:
    fractions = {network: published_preprocessing(network).crop_fraction for network in NETWORKS}
    assert {network for _, network in PUBLISHED} == {"irv2-tf", "iv4-tf"}
    assert fractions.pop("irv2-tf") == 0.8975
    assert set(fractions.values()) == {0.875}
