"""Nothing heavy is imported for help, version, completion and wrong use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "torch", "torchvision", "lightning", "torchmetrics", "onnx", "onnxruntime", "timm",
    "matplotlib",
)  # fmt: skip

USAGE = [
    ([], 2),
    (["--help"], 0),
    (["--version"], 0),
    (["train", "--help"], 0),
    (["eval", "--help"], 0),
    (["predict", "--help"], 0),
    (["summarize", "--help"], 0),
    (["nonsense"], 2),
    (["train", "--nonsense"], 2),
    (["train", "--arch", "resnet50"], 2),
    (["train", "--image-size", "74"], 2),
    (["train", "--data", "missing"], 2),
    (["train", "--set", "trainer.epoch=3"], 2),
    (["train", "--recipe", "missing"], 2),
    (["train", "--init", "missing"], 2),
    (["train", "--stop-after", "soon"], 2),
    (["train", "--arch", "irv2", "--init", "imagenet"], 2),
    (["train", "--init", "imagenet", "--data", "missing"], 2),
    (["import"], 2),
    (["export", "missing", "--to", "onnx", "--output", "x.onnx"], 2),
    (["eval", "missing"], 2),
    (["eval", "missing", "--crops", "11"], 2),
    (["predict"], 2),
    (["data", "check", "missing"], 2),
    (["data", "shard", "missing", "--output", "x"], 2),
    (["train", "--data", "missing-*.tar"], 2),
    (["train", "--data", "pipe:cat x.tar"], 2),
    (["list", "networks"], 0),
    (["list", "recipes"], 0),
    (["list", "weights"], 0),
    (["list", "models"], 2),
    (["predict", "image.jpg", "--weights", "missing"], 2),
    (["predict", "image.jpg", "--shard", "2/2", "--output", "x"], 2),
    (["merge", "missing"], 2),
    (["summarize", "missing"], 2),
    (["summarize", "irv2", "--depth", "2"], 0),
    (["summarize", "iv3", "--format", "json"], 0),
    (["summarize", "irv2", "irv2-tf"], 0),
    (["compare", "--help"], 0),
    (["compare", "missing"], 2),
    (["compare", "--paper"], 0),
]


def run(arguments: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "inceptcli", *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def imported(stderr: str) -> set[str]:
    lines = [line for line in stderr.splitlines() if line.startswith("import time:")]
    assert len(lines) > 50
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines}


SEVERAL = f"""
import json, sys
from inceptcli.__main__ import main
for arguments, _ in json.load(sys.stdin):
    sys.argv[1:] = arguments
    try:
        main()
        code = 0
    except SystemExit as left:
        code = left.code or 0
    heavy = [name for name in {HEAVY} if name in sys.modules]
    print("\\nleft:", json.dumps([arguments, code, heavy]), flush=True)
"""


def test_usage_is_checked_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL],
        input=json.dumps(USAGE), cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("left: ")]
    left = [json.loads(line.removeprefix("left: ")) for line in lines]
    assert left == [[arguments, code, []] for arguments, code in USAGE]
    assert "Traceback" not in done.stderr


def test_the_program_starts_without_anything_heavy(tmp_path: Path) -> None:
    done = run(["--version"], tmp_path)
    assert done.returncode == 0
    assert not imported(done.stderr) & set(HEAVY)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("inceptcli tr", "train"),
        ("inceptcli train --arch irv1-", "irv1-facenet"),
        ("inceptcli train --recipe scr", "scratch-small"),
        ("inceptcli predict --weights en", "ens-adv"),
        ("inceptcli summarize iv4 iv4-", "iv4-tf"),
    ],
)
def test_completion_imports_nothing_heavy(words: str, found: str, tmp_path: Path) -> None:
    last = str(len(words.split()) - 1)
    done = run([], tmp_path, _INCEPTCLI_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=last)
    assert found in done.stdout.splitlines()
    assert not imported(done.stderr) & {*HEAVY, "matplotlib", "huggingface_hub", "PIL", "numpy"}


@pytest.mark.system
def test_only_compilation_imports_the_compiler() -> None:
    """It takes longer to import than torch itself."""
    code = (
        "import sys, inceptcli.prediction.engines.torch_engine; "
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_check_would_see_a_heavy_import() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import torchmetrics"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"torch", "torchmetrics"} <= imported(done.stderr)
