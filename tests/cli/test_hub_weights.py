"""Weights by `hf-hub:owner/name`, as the user types it, from a hub on this machine or its cache."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.weights.file import (
    AUXILIARY_HEAD,
    load_auxiliary_head,
    load_network,
    read_metadata,
)
from inceptcli.weights.file import save as write_weights
from tests.cli.conftest import TINY, check_one_line, inceptcli
from tests.prediction.conftest import IDS, draw, save_small_network
from tests.tiny_network import TINY_FLAGS
from tests.weights.foreign_files import knowing
from tests.weights.loopback_hub import COMMIT, Hub, git_hash, serving

NAME = "hf-hub:me/pets"
LATER = "89abcdef" * 5

VIEW = Preprocessing(
    (96, 96), "squash", 1.0, "bicubic", (0.485, 0.456, 0.406), (0.2, 0.3, 0.4), antialias=False
)
LABELS = ["cat", "dog", "elk"]
CONFIG = {
    "label_names": LABELS, "antialias": False,
    "label_descriptions": {"cat": "domestic cat"},
    "pretrained_cfg": {
        "input_size": [3, 96, 96], "crop_mode": "squash", "crop_pct": 1.0,
        "interpolation": "bicubic", "mean": VIEW.mean, "std": VIEW.std,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Two weights files of this program."""
    folder = tmp_path_factory.mktemp("ours")
    files = [save_small_network(folder / f"{n}.safetensors", IDS[:n]) for n in (6, 5)]
    network, metadata = load_network(files[0])
    head = {f"{AUXILIARY_HEAD}bias": torch.ones(2)}
    write_weights(files[0], network.state_dict() | head, metadata)
    return [file.read_bytes() for file in files]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number, label in enumerate(LABELS):
        draw(folder / label / "a.png", number)
    return folder


@pytest.fixture(scope="module")
def theirs(pictures: Path) -> bytes:
    """Somebody's network, which knows each of the pictures, seen through VIEW."""
    return save(knowing([pictures / label / "a.png" for label in LABELS], VIEW))


@pytest.fixture
def hub(ours: list[bytes]) -> Iterator[Hub]:
    with serving(ours[0]) as hub:
        yield hub


def run(
    hub: Hub, home: Path, *words: object, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "inceptcli", *map(str, words)],
        env=hub.environment(home, **environment), capture_output=True, text=True, check=False,
        timeout=600,
    )  # fmt: skip


def answers(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["predictions"][0] for line in done.stdout.splitlines()]


def refused(done: subprocess.CompletedProcess[str], said: str, code: int = 1) -> str:
    """The only line of standard error that is an error; nothing else is there."""
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert (done.returncode, done.stdout, len(errors)) == (code, "", 1), done.stderr
    assert "Traceback" not in done.stderr
    assert said in errors[0]
    return errors[0]


def predict(hub: Hub, home: Path, pictures: Path, name: str = NAME, **environment: str) -> Any:
    words = ("predict", pictures, "--weights", name, "--format", "jsonl", "--device", "cpu")
    return run(hub, home, *words, **environment)


@pytest.mark.system
def test_classes_and_preprocessing_of_another_librarys_file_are_its_config_jsons(
    theirs: bytes, pictures: Path, tmp_path: Path
) -> None:
    with serving(theirs) as hub:
        hub.others = {"config.json": json.dumps(CONFIG).encode(), "pytorch_model.bin": b"evil"}
        done = predict(hub, tmp_path, pictures)
        assert [answer["class"] for answer in answers(done)] == ["domestic cat", "dog", "elk"]
        assert all(answer["probability"] > 0.9 for answer in answers(done))
        sha256 = hashlib.sha256(theirs).hexdigest()
        kept = tmp_path / "inceptcli/hub/me--pets" / f"{COMMIT}.safetensors"
        said = done.stderr.splitlines()
        assert said[0] == f"{NAME}: downloading commit {COMMIT}"
        taken = f"{NAME}: from config.json of me/pets: 3 classes, images of 96x96, resize squash, "
        assert [line for line in said if line.startswith(taken)]
        assert said[-1] == f"{NAME}: saved as {kept}"
        assert {line.split()[1] for line in hub.asked} == {
            "/me/pets/resolve/main/model.safetensors",
            f"/me/pets/resolve/{COMMIT}/config.json",
        }
        assert read_metadata(kept).source == {
            **read_metadata(kept).source,
            "repository": "me/pets", "revision": "main", "commit": COMMIT, "sha256": sha256,
            "classes": "config.json of me/pets",
        }  # fmt: skip
        assert read_metadata(kept).preprocessing == VIEW
        shown = run(hub, tmp_path, "summarize", NAME)
        assert f"commit {COMMIT}, sha256 {sha256}" in shown.stdout.replace("\n", "")
        count = len(hub.asked)
        offline = predict(hub, tmp_path, pictures, HF_HUB_OFFLINE="1")
        assert answers(offline) == answers(done)
        assert offline.stderr.splitlines() == [f"{NAME}: commit {COMMIT}"]
        words = ("eval", NAME, "--data", pictures, "--format", "json", "--device", "cpu")
        measured = run(hub, tmp_path, *words, HF_HUB_OFFLINE="1")
        assert json.loads(measured.stdout)["top1"] == 1.0
        assert len(hub.asked) == count


@pytest.mark.system
def test_a_network_for_embeddings_needs_no_classifier(
    theirs: bytes, pictures: Path, tmp_path: Path
) -> None:
    headless = save({k: v for k, v in load(theirs).items() if not k.startswith("logits.")})
    config = {"num_classes": 0, "pretrained_cfg": CONFIG["pretrained_cfg"]}
    embeddings = tmp_path / "embeddings.npy"
    words = ("predict", pictures, "--weights", NAME, "--embeddings", embeddings)
    with serving(headless) as hub:
        refused(run(hub, tmp_path, *words), "2 missing: logits.")
        hub.others = {"config.json": json.dumps(config).encode()}
        shutil.rmtree(tmp_path / "inceptcli", ignore_errors=True)
        done = run(hub, tmp_path / "home", *words)
    assert done.returncode == 0, done.stderr
    assert np.load(embeddings).shape == (3, 512)


@pytest.mark.system
def test_a_repository_is_imported_under_other_names(
    theirs: bytes, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    output = tmp_path / "pets.safetensors"
    with serving(theirs) as hub:
        hub.others = {"config.json": json.dumps(CONFIG).encode()}
        words = ("import", NAME, "--output", output, "--classes", tmp_path / "names.txt")
        done = run(hub, tmp_path, *words)
        assert done.returncode == 0, done.stderr
        found = read_metadata(output)
        assert [entry.name for entry in found.classes] == ["a", "b", "c"]
        assert found.preprocessing == VIEW
        assert found.source["commit"] == COMMIT
        hub.others.clear()
        hub.commits["main"] = LATER
        done = run(hub, tmp_path, "import", NAME, "--output", output)
        assert done.returncode == 0, done.stderr
        assert "the 3 classes are unnamed" in done.stderr
        assert read_metadata(output).source["commit"] == LATER


@pytest.mark.system
def test_our_own_files_answer_measure_export_and_start_training(
    hub: Hub, pictures: Path, tmp_path: Path, ours: list[bytes]
) -> None:
    local = tmp_path / "ours.safetensors"
    local.write_bytes(ours[0])
    done = predict(hub, tmp_path, pictures)
    # Tensors that lie elsewhere in a file are summed in another order.
    for ours_kept, ours_local in zip(
        answers(done), answers(predict(hub, tmp_path, pictures, str(local))), strict=True
    ):
        assert ours_kept["class"] == ours_local["class"]
        assert ours_kept["probability"] == pytest.approx(ours_local["probability"], abs=1e-6)
    assert not [line for line in hub.asked if not line.endswith((".safetensors", "config.json"))]
    kept = tmp_path / "inceptcli/hub/me--pets" / f"{COMMIT}.safetensors"
    assert read_metadata(kept).source["family"] == "a weights file of inceptcli"
    assert read_metadata(kept).source_sha256 == hashlib.sha256(ours[0]).hexdigest()
    assert load_auxiliary_head(kept).keys() == {"bias"}
    exported = run(hub, tmp_path, "export", NAME, "--to", "onnx", "--output", tmp_path / "a.onnx")
    assert exported.returncode == 0, exported.stderr
    assert read_metadata(tmp_path / "a.onnx").source["commit"] == COMMIT
    again = run(hub, tmp_path, "import", NAME, "--output", tmp_path / "b.safetensors")
    refused(again, "already an inceptcli weights file; no import is needed")


@pytest.mark.train
def test_training_starts_from_a_repository_and_goes_on_without_it(hub: Hub, tmp_path: Path) -> None:
    tiny = TINY[len(TINY_FLAGS) :]
    words = ("train", "--init", NAME, *tiny, "--lr", "0.001", "--output", tmp_path / "run")
    done = run(hub, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert f"{COMMIT}.safetensors: loaded" in done.stderr.replace("\n", "")
    assert f"{COMMIT}.safetensors: loaded" in (tmp_path / "run/train.log").read_text()
    hub.status = 503
    shutil.rmtree(tmp_path / "hub")
    shutil.rmtree(tmp_path / "inceptcli")
    more = run(hub, tmp_path, *words, "--epochs", "2")
    assert more.returncode == 0, more.stderr


@pytest.mark.system
def test_a_branch_that_moves_is_followed_and_a_commit_stays(
    hub: Hub, pictures: Path, tmp_path: Path, ours: list[bytes]
) -> None:
    first = answers(predict(hub, tmp_path, pictures))
    hub.file = hub.sent = ours[1]
    hub.commits = {"main": LATER, "v1": COMMIT}
    second = answers(predict(hub, tmp_path, pictures))
    assert first != second
    count = len(hub.asked)
    pinned = predict(hub, tmp_path, pictures, f"{NAME}@{COMMIT}")
    assert answers(pinned) == first
    assert (pinned.stderr, len(hub.asked)) == ("", count)
    assert answers(predict(hub, tmp_path, pictures, f"{NAME}@v1")) == first
    assert answers(predict(hub, tmp_path, pictures, f"{NAME}@{LATER}")) == second
    refused(
        predict(hub, tmp_path, pictures, f"{NAME}@v2"), f"{NAME}@v2 has no such revision; check"
    )


@pytest.mark.system
def test_a_hub_that_is_down_leaves_what_the_cache_has_and_one_that_answers_does_not(
    hub: Hub, pictures: Path, tmp_path: Path
) -> None:
    first = answers(predict(hub, tmp_path, pictures))
    hub.status = 503
    done = predict(hub, tmp_path, pictures)
    assert answers(done) == first
    assert "(HTTP 503); using the cached earlier download" in done.stderr
    hub.status = 401
    said = refused(predict(hub, tmp_path, pictures), "cannot be downloaded from http://127.0.0.1")
    advice = "if it is private or gated, log in with `hf auth login` or set HF_TOKEN"
    assert said.endswith(f"(HTTP 401); {advice}")
    kept = tmp_path / "inceptcli/hub/me--pets" / f"{COMMIT}.safetensors"
    kept.rename(kept.with_name(f"{LATER}.safetensors"))
    other = predict(hub, tmp_path, pictures, f"{NAME}@{LATER}")
    refused(other, f"it was not converted from commit {LATER} of me/pets; delete it")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hf-hub:", "must be hf-hub:owner/name or hf-hub:owner/name@revision"),
        ("hf-hub:pets", "must be hf-hub:owner/name"),
        ("hf-hub:me/pets/more", "must be hf-hub:owner/name"),
        ("hf-hub:../pets", "must be hf-hub:owner/name"),
        ("hf-hub:me/..", "must be hf-hub:owner/name"),
        ("hf-hub:me/pets@", "must be hf-hub:owner/name"),
        ("hf-hub:me/pets@a b", "must be hf-hub:owner/name"),
        ("hf-hub:me/pets@../../a", "must be hf-hub:owner/name"),
        (f"hf-hub:me/pets@{'a' * 201}", "must be hf-hub:owner/name"),
    ],
)
@pytest.mark.parametrize("command", ["predict", "eval", "summarize", "export", "import", "train"])
def test_a_name_that_is_not_written_so_is_wrong_use(
    command: str, name: str, said: str, tmp_path: Path
) -> None:
    words = {
        "predict": ("x.png", "--weights", name),
        "eval": (name, "--data", tmp_path),
        "summarize": (name,),
        "export": (name, "--to", "onnx", "--output", tmp_path / "a.onnx"),
        "import": (name, "--output", tmp_path / "a.safetensors"),
        "train": ("--init", name, "--output", tmp_path / "run"),
    }[command]
    check_one_line(inceptcli(command, *words), 2, said)


@pytest.mark.system
def test_what_is_of_no_known_layout_is_one_line(hub: Hub, pictures: Path, tmp_path: Path) -> None:
    hub.file = hub.sent = save({"layer.weight": torch.zeros(3)})
    said = refused(predict(hub, tmp_path, pictures), f"{NAME}: ")
    assert "model.safetensors" in said
    hub.commits["main"] = LATER
    hub.others["config.json"] = json.dumps({"architecture": "resnet50.a1_in1k"}).encode()
    before = len(hub.asked)
    network = (
        "its config.json states resnet50, which is not supported; supported networks of timm: "
    )
    known = "inception_v4, inception_resnet_v2 and inception_v3"
    refused(predict(hub, tmp_path, pictures), f"{NAME}: {network}{known}")
    fetched = [line for line in hub.asked[before:] if line.startswith("GET")]
    assert fetched == [f"GET /me/pets/resolve/{LATER}/config.json"]
    hub.size = 5 * 1024**3
    said = f"{NAME}: model.safetensors has 5368709120 bytes, over 4294967296"
    refused(predict(hub, tmp_path, pictures), said)
    hub.size, hub.commits = 0, {"main": "../../../evil"}
    refused(predict(hub, tmp_path, pictures), "(it names no commit)")
    hub.file = None
    advice = "only model.safetensors is supported; download another file and use inceptcli"
    refused(predict(hub, tmp_path, pictures), f"{NAME} has no model.safetensors; {advice} import")


@pytest.mark.system
@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_file_that_is_not_what_the_hub_states_is_deleted(
    file: str, hub: Hub, pictures: Path, tmp_path: Path
) -> None:
    hub.others["config.json"] = b'{"label_names": ["a"]}'
    answered = answers(predict(hub, tmp_path, pictures))
    (blob,) = (tmp_path / "hub").glob(f"models--*/snapshots/{COMMIT}/{file}")
    whole = blob.read_bytes()
    blob.resolve().write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    shutil.rmtree(tmp_path / "inceptcli")
    refused(
        predict(hub, tmp_path, pictures), f"me/pets: {file} does not have the sha256 that http://"
    )
    assert not blob.exists()
    assert answers(predict(hub, tmp_path, pictures)) == answered


def laid_out(home: Path, files: dict[str, bytes], absent: tuple[str, ...] = ()) -> None:
    """The cache of the hub's client after somebody else's download."""
    repository = home / "hub/models--me--pets"
    snapshot = repository / "snapshots" / COMMIT
    for folder in (repository / "refs", repository / "blobs", snapshot):
        folder.mkdir(parents=True, exist_ok=True)
    (repository / "refs/main").write_text(COMMIT)
    for name, content in files.items():
        large = name == "model.safetensors"
        blob = hashlib.sha256(content).hexdigest() if large else git_hash(content)
        (repository / "blobs" / blob).write_bytes(content)
        (snapshot / name).symlink_to(f"../../blobs/{blob}")
    for name in absent:
        (repository / ".no_exist" / COMMIT).mkdir(parents=True)
        (repository / ".no_exist" / COMMIT / name).touch()


@pytest.mark.system
def test_offline_a_cache_answers_only_where_it_is_whole(
    hub: Hub, theirs: bytes, ours: list[bytes], pictures: Path, tmp_path: Path
) -> None:
    """Weights without the config.json that they may have had would get other classes."""
    offline = {"HF_HUB_OFFLINE": "1"}
    said = refused(predict(hub, tmp_path / "empty", pictures, **offline), "is not in the cache")
    assert "HF_HUB_OFFLINE is set; use a local weights file, set a mirror" in said
    config = json.dumps(CONFIG).encode()
    laid_out(tmp_path / "whole", {"model.safetensors": theirs, "config.json": config})
    done = predict(hub, tmp_path / "whole", pictures, **offline)
    assert [answer["class"] for answer in answers(done)] == ["domestic cat", "dog", "elk"]
    laid_out(tmp_path / "part", {"model.safetensors": theirs})
    refused(predict(hub, tmp_path / "part", pictures, **offline), "is not in the cache")
    laid_out(tmp_path / "none", {"model.safetensors": theirs}, ("config.json",))
    done = predict(hub, tmp_path / "none", pictures, **offline)
    assert done.returncode == 0, done.stderr
    assert "the 3 classes are unnamed" in done.stderr
    laid_out(tmp_path / "ours", {"model.safetensors": ours[0]})
    assert len(answers(predict(hub, tmp_path / "ours", pictures, **offline))) == 3
    assert hub.asked == []
