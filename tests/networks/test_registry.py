import subprocess
import sys
from typing import Any

import pytest

from inceptcli.networks.registry import NETWORKS, NetworkOptions, build, network_options


def test_defaults_are_the_layouts_own() -> None:
    facenet = network_options("irv1-facenet")
    assert (facenet.repeats, facenet.dropout) == ((5, 10, 6), 0.6)
    assert network_options("irv2-tf").repeats == (10, 20, 10)
    assert network_options("irv2").repeats == (5, 10, 5)
    assert network_options("iv4").residual_scales is None
    assert network_options("iv3").repeats is None


def test_changes_apply_and_none_keeps_the_default() -> None:
    options = network_options("irv1", num_classes=5, repeats=[1, 2, 3], dropout=None)
    assert options == NetworkOptions(
        "irv1", 5, repeats=(1, 2, 3), residual_scales=(0.17, 0.10, 0.20), dropout=0.2
    )


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("inception", {}, "unknown network 'inception'; known: iv4, irv1, irv2, iv4-tf"),
        ("iv4", {"residual_scales": (0.1, 0.1, 0.1)}, "iv4 has no residual modules"),
        ("iv3", {"shortcut": False}, "iv3 has no residual modules"),
        ("iv4-tf", {"batch_norm_on_sums": True}, "iv4-tf has no residual modules"),
        ("iv3", {"repeats": (1, 1, 1)}, "iv3 has fixed modules"),
        ("irv1", {"repeats": (1, 0, 1)}, r"repeats must be at least 1 each, got \(1, 0, 1\)"),
    ],
)
def test_wrong_options_are_refused(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network_options(name, **changes)


def test_building_an_unknown_network_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown network 'resnet'"):
        build(NetworkOptions("resnet"))


def test_options_as_dict_build_the_same_options_again() -> None:
    for name in NETWORKS:
        options = network_options(name, num_classes=7)
        assert network_options(**options.as_dict()) == options


def test_the_registry_imports_no_torch() -> None:
    code = "import sys, inceptcli.networks.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
