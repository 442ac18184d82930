"""TAB in real shells offers names of networks, recipes and weights, and files where none fits."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import installed
from tests.terminal import Terminal

SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], ""),
    "zsh": (["zsh", "-f", "-i"], "autoload -Uz compinit; compinit -u; "),
    "fish": (["fish", "--no-config", "--interactive"], ""),
}
LEARN = {
    "bash": 'eval "$(inceptcli --show-completion)"',
    "zsh": 'eval "$(inceptcli --show-completion)"',
    "fish": "inceptcli --show-completion | source",
}
CLEAR = "\x15"

Start = Callable[[], Terminal]


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Terminal:
    """An interactive shell that has learnt completion, in a folder with one weights file."""
    name = request.param
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    programs = installed(tmp_path / "programs")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "mine.safetensors").touch()
    command, before = SHELLS[name]
    path = f"{programs}:{os.environ['PATH']}"
    home = {"HOME": str(tmp_path), "ZDOTDIR": str(tmp_path), "PATH": path}
    terminal = Terminal(command, 100, **home, INPUTRC="/dev/null")
    terminal.type(f"{before}{LEARN[name]}; cd {tmp_path}/work; echo rea''dy\n")
    terminal.read_until("ready")
    return terminal


@pytest.mark.system
@pytest.mark.skipif(sys.platform != "linux", reason="reads a pseudo-terminal as Linux has it")
def test_tab_offers_the_names_that_fit(shell: Terminal) -> None:
    shell.type("inceptcli train --arch irv1\t\t")
    shell.read_until("irv1-facenet")
    shell.type(f"{CLEAR}inceptcli train --recipe paper/irv\t\t")
    assert "paper/irv2" in shell.read_until("paper/irv2")
    shell.type(f"{CLEAR}inceptcli predict --weights iv\t")
    shell.read_until("iv4-tf:imagenet")
    shell.type(f"{CLEAR}inceptcli eval ens\t")
    shell.read_until("ens-adv")
    shell.type(f"{CLEAR}inceptcli summarize irv2-\t")
    shell.read_until("irv2-tf")
    shell.type(f"{CLEAR}inceptcli list recipe scr\t")
    shell.read_until("scratch-small")
    shell.type(f"{CLEAR}inceptcli list w\t")
    shell.read_until("weights")
    shell.type(f"{CLEAR}inceptcli predict --weights min\t")
    shell.read_until("mine.safetensors")
    shell.type(f"{CLEAR}exit\n")
    assert shell.finish() == 0
