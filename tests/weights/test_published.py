from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save

from inceptcli.weights.file import read_metadata
from tests.prediction.conftest import draw, save_small_network
from tests.weights.loopback_hub import COMMIT, Hub, kept_file, serving

pytestmark = pytest.mark.system

# `obtain` in a process of its own. The conversion is another test's matter: this one makes a file
# without tensors.
OBTAIN = """
import sys, types
from inceptcli.files.atomic_file import replacing
from tests.weights.loopback_hub import kept_file
def convert(source, output, *, declared, source_note):
    with replacing(output) as temporary:
        temporary.write_bytes(kept_file(source_note))
sys.modules["inceptcli.weights.foreign.importing"] = types.SimpleNamespace(convert=convert)
from inceptcli.errors import UserError
from inceptcli.progress.display import notices
from inceptcli.weights.fetched.published import obtain_published
from inceptcli.weights.fetched.published_names import Published
try:
    with notices():
        print(obtain_published(Published("imagenet", "iv4-tf")))
except UserError as error:
    sys.exit(f"Error: {error}")
print("huggingface_hub" in sys.modules, "torch" in sys.modules)
"""


def is_kept(path: Path | str, content: bytes) -> bool:
    """Whether the file there was converted from this content."""
    return read_metadata(Path(path)).source_sha256 == hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return save_small_network(tmp_path_factory.mktemp("small") / "small.safetensors").read_bytes()


@pytest.fixture
def hub(small: bytes) -> Iterator[Hub]:
    with serving(small) as hub:
        yield hub


def start(hub: Hub, home: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", OBTAIN],
        env=hub.environment(home, **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def obtain(hub: Hub, home: Path, **environment: str) -> tuple[list[str], list[str]]:
    """Lines on standard output (path, then what was imported) and on standard error."""
    output, errors = start(hub, home, **environment).communicate(timeout=600)
    return output.splitlines(), errors.splitlines()


def refused(hub: Hub, home: Path, **environment: str) -> str:
    """The error of a call that fails and leaves nothing that looks like weights."""
    output, errors = obtain(hub, home, **environment)
    said = [line for line in errors if "downloading timm/" not in line]
    assert (output, len(said)) == ([], 1), errors
    assert not [path for path in home.rglob("*") if path.is_file() and path.stat().st_size > 200]
    return said[0]


def test_weights_are_fetched_checked_and_kept_and_then_need_no_network(
    hub: Hub, tmp_path: Path, small: bytes
) -> None:
    output, errors = obtain(hub, tmp_path)
    kept = tmp_path / "inceptcli" / "iv4-tf-imagenet.safetensors"
    assert output == [str(kept), "True False"]
    assert is_kept(kept, small)
    assert read_metadata(kept).source == {
        "repository": "timm/inception_v4.tf_in1k",
        "commit": COMMIT,
        "sha256": hashlib.sha256(small).hexdigest(),
    }
    assert errors == [
        "imagenet for iv4-tf: downloading timm/inception_v4.tf_in1k",
        f"imagenet for iv4-tf: converted to {kept}",
    ]
    asked = list(hub.asked)
    assert {line.split("/resolve/")[0] for line in asked} == {
        "HEAD /timm/inception_v4.tf_in1k",
        "GET /timm/inception_v4.tf_in1k",
    }
    assert obtain(hub, tmp_path) == ([str(kept), "False False"], [])
    assert hub.asked == asked


def test_a_kept_file_that_is_cut_short_is_converted_again(hub: Hub, tmp_path: Path) -> None:
    kept = Path(obtain(hub, tmp_path)[0][0])
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1])
    obtain(hub, tmp_path)
    assert kept.read_bytes() == whole


def test_a_connection_cut_at_half_leaves_nothing_and_the_next_call_fetches_again(
    hub: Hub, tmp_path: Path, small: bytes
) -> None:
    hub.cut = True
    assert "cannot be downloaded from http://127.0.0.1" in refused(hub, tmp_path)
    assert sum(line.startswith("GET") for line in hub.asked) == 2
    hub.cut, hub.status = False, 200
    output, _ = obtain(hub, tmp_path)
    assert is_kept(output[0], small)


@pytest.mark.parametrize("links", ["linked", "HF_HUB_DISABLE_SYMLINKS"])
def test_a_file_with_one_byte_changed_is_refused_and_deleted(
    hub: Hub, tmp_path: Path, small: bytes, links: str
) -> None:
    hub.sent = small[:-1] + bytes([small[-1] ^ 1])
    error = refused(hub, tmp_path, **{links: "1"})
    assert hashlib.sha256(hub.sent).hexdigest() in error
    hub.sent = small
    output, _ = obtain(hub, tmp_path, **{links: "1"})
    assert is_kept(output[0], small)


def test_a_file_that_was_damaged_in_the_hubs_cache_is_fetched_again(
    hub: Hub, tmp_path: Path, small: bytes
) -> None:
    kept = Path(obtain(hub, tmp_path)[0][0])
    kept.unlink()
    (blob,) = (tmp_path / "hub").glob("models--*/blobs/*")
    blob.write_bytes(small[:-1] + bytes([small[-1] ^ 1]))
    assert "sha256" in refused(hub, tmp_path)
    obtain(hub, tmp_path)
    assert is_kept(kept, small)


def test_offline_with_an_empty_cache_names_three_ways_out(hub: Hub, tmp_path: Path) -> None:
    error = refused(hub, tmp_path, HF_HUB_OFFLINE="1")
    ways = ["a local weights file", "a mirror in HF_ENDPOINT", "from another machine"]
    assert [way for way in ways if way in error] == ways
    assert hub.asked == []


@pytest.mark.parametrize("copied_with", ["-a", "-rL"])
def test_offline_another_machines_cache_of_the_hub_will_do(
    hub: Hub, tmp_path: Path, small: bytes, copied_with: str
) -> None:
    obtain(hub, tmp_path / "there")
    asked = len(hub.asked)
    (tmp_path / "here").mkdir()
    subprocess.run(["cp", copied_with, "there/hub", "here/hub"], cwd=tmp_path, check=True)
    output, _ = obtain(hub, tmp_path / "here", HF_HUB_OFFLINE="1")
    assert is_kept(output[0], small)
    assert len(hub.asked) == asked


@pytest.mark.parametrize("status", [401, 404])
def test_what_the_hub_refuses_is_one_line(hub: Hub, tmp_path: Path, status: int) -> None:
    hub.status = status
    assert f"cannot be downloaded from {hub.url} (HTTP {status}); " in refused(hub, tmp_path)


def test_a_cache_that_cannot_be_written_is_one_line(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "inceptcli").write_text("a file where the folder should be")
    output, errors = obtain(hub, tmp_path, HF_HUB_CACHE=str(tmp_path / "elsewhere"))
    assert not output
    assert "File exists; set HF_HOME to a writable folder" in errors[-1]
    assert not (tmp_path / "elsewhere").exists()  # nothing is fetched that cannot be kept


def test_two_processes_at_once_are_both_served(hub: Hub, tmp_path: Path, small: bytes) -> None:
    both = [start(hub, tmp_path) for _ in range(2)]
    outputs = [process.communicate(timeout=600)[0].splitlines() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert outputs[0] == outputs[1]
    assert is_kept(outputs[0][0], small)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network": "irv1", "classes": 10}, "its network is irv1 with 10 classes"),
        ({"classes": 999}, "its network is iv4-tf with 999 classes"),
        ({"note": {"repository": "mine/iv4", "sha256": "0"}}, "not converted from timm/"),
        ({"note": {"repository": "timm/inception_v4.tf_in1k", "sha256": "0"}}, ""),
    ],
)
def test_other_weights_under_the_name_of_published_ones_do_not_answer(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    note = {"repository": "timm/inception_v4.tf_in1k", "sha256": "0"}
    kept = tmp_path / "inceptcli/iv4-tf-imagenet.safetensors"
    kept.parent.mkdir()
    kept.write_bytes(kept_file(**{"note": note, **changes}))
    done = subprocess.run(
        [sys.executable, "-m", "inceptcli", "summarize", "iv4-tf:imagenet"],
        env={**os.environ, "HF_HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if not said:
        assert (done.returncode, done.stderr) == (0, "")
        return
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: {kept}: not imagenet for iv4-tf: ")
    assert said in done.stderr
    assert done.stderr.endswith("; delete it to download it again\n")


def test_predict_twice_at_once_and_once_more_downloads_and_converts_a_timm_file(
    tmp_path: Path,
) -> None:
    import timm  # seconds, which the other tests need not wait for

    file = save(timm.create_model("inception_v4").state_dict())
    picture = draw(tmp_path / "picture.png", 0)
    arguments = ["predict", str(picture), "--weights", "iv4-tf:imagenet", "--format", "jsonl"]

    def predict(hub: Hub) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "inceptcli", *arguments, "--device", "cpu"],
            env=hub.environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    with serving(file) as hub:
        both = [predict(hub), predict(hub)]
        done = [process.communicate(timeout=600) for process in both]
        asked = len(hub.asked)
        done.append(predict(hub).communicate(timeout=600))
        assert len(hub.asked) == asked > 0
    answers = [json.loads(output)["predictions"] for output, _ in done]
    assert len(answers[0]) == 5
    assert answers[0] == answers[1] == answers[2]
    assert done[2][1] == ""
    kept = tmp_path / "inceptcli" / "iv4-tf-imagenet.safetensors"
    metadata = read_metadata(kept)
    assert (metadata.network.name, metadata.preprocessing.crop_fraction) == ("iv4-tf", 0.875)
    assert metadata.source["repository"] == "timm/inception_v4.tf_in1k"
    assert metadata.source["commit"] == COMMIT
    assert metadata.source["sha256"] == hashlib.sha256(file).hexdigest()
    assert metadata.source_sha256 == metadata.source["sha256"]
