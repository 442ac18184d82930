"""TensorFlow's checkpoints: what is read of them, and that damage is one line."""

from __future__ import annotations

import gzip
import os
import random
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inceptcli.errors import UserError
from inceptcli.weights.formats.crc32c import LANE, POLYNOMIAL, crc32c
from inceptcli.weights.formats.foreign_file import sha256
from inceptcli.weights.formats.protobuf import text_field, whole_number_field
from inceptcli.weights.formats.tensorflow_checkpoint import AVERAGE, read_tensorflow_checkpoint
from tests.cli.conftest import check_one_line, inceptcli
from tests.weights.tensorflow_files import (
    MAGIC,
    block,
    entry,
    sorted_table,
    trailer,
    varint,
    write_version_1,
    write_version_2,
)

NUMBERS = np.random.default_rng(0)
KERNEL = NUMBERS.normal(size=(3, 5, 2, 4)).astype("f4")
ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "InceptionV4/Conv2d_1a_3x3/weights": KERNEL,
    "InceptionV4/Conv2d_1a_3x3/weights/RMSProp": KERNEL + 1,
    "InceptionV4/Conv2d_1a_3x3/BatchNorm/beta": np.arange(3, dtype="f4"),
    "InceptionV4/Logits/Logits/weights": np.arange(6, dtype="f8").reshape(2, 3),
    "global_step": np.array(7),
    "scalar": np.array(1.5, "f4"),
}
WRITERS: dict[str, Callable[..., Path]] = {"1": write_version_1, "2": write_version_2}


def bitwise(data: bytes) -> int:
    """The checksum from its definition."""
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (POLYNOMIAL if state & 1 else 0)
    return state ^ 0xFFFFFFFF


@pytest.mark.parametrize("size", [0, 9, LANE, 3 * LANE + 5])
def test_the_checksum_is_the_definitions(size: int) -> None:
    assert crc32c(b"123456789", 0, 9) == 0xE3069283
    data = NUMBERS.bytes(size + 2)
    assert crc32c(data, 1, size + 1) == bitwise(data[1:-1])


def test_the_checksum_goes_on_beyond_the_lanes_summed_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("inceptcli.weights.formats.crc32c.LANES_AT_ONCE", 2)
    data = NUMBERS.bytes(5 * LANE + 3)
    assert crc32c(data, 0, len(data)) == bitwise(data)


def check(path: Path) -> None:
    groups, passed_over = read_tensorflow_checkpoint(path)
    found = groups[""]
    assert sorted(found) == [
        "InceptionV4/Conv2d_1a_3x3/BatchNorm/beta",
        "InceptionV4/Conv2d_1a_3x3/weights",
        "InceptionV4/Logits/Logits/weights",
    ]
    kernel = found["InceptionV4/Conv2d_1a_3x3/weights"]
    assert kernel.shape == (4, 2, 3, 5)
    assert torch.equal(kernel, torch.from_numpy(KERNEL.transpose(3, 2, 0, 1)))
    dense = found["InceptionV4/Logits/Logits/weights"]
    assert dense.tolist() == [[0, 3], [1, 4], [2, 5]]
    assert dense.dtype == torch.float64
    assert sorted(passed_over) == [
        "InceptionV4/Conv2d_1a_3x3/weights/RMSProp", "global_step", "scalar"
    ]  # fmt: skip


@pytest.mark.parametrize("per_block", [1, 3, 100])
@pytest.mark.parametrize("version", WRITERS)
def test_tensors_are_read_and_what_only_training_uses_is_not(
    version: str, per_block: int, tmp_path: Path
) -> None:
    check(WRITERS[version](tmp_path / "model.ckpt-7", ARRAYS, per_block=per_block))


@pytest.mark.parametrize("version", WRITERS)
def test_averages_stand_beside_the_variables_as_trained(version: str, tmp_path: Path) -> None:
    arrays = ARRAYS | {"InceptionV4/Conv2d_1a_3x3/weights/ExponentialMovingAverage": 2 * KERNEL}
    groups, _ = read_tensorflow_checkpoint(WRITERS[version](tmp_path / "model.ckpt", arrays))
    name = "InceptionV4/Conv2d_1a_3x3/weights"
    assert torch.equal(groups[AVERAGE][name], 2 * groups[""][name])
    assert groups[AVERAGE].keys() == groups[""].keys()


def second_table(pairs: list[tuple[bytes, bytes]], index: list[tuple[bytes, bytes]]) -> bytes:
    """A table whose index is the caller's; `pairs` lie in one block at byte 0."""
    contents = block(pairs)
    file = contents + trailer(contents)
    handles = b""
    for part in (block([]), block(index, every=1)):
        handles += varint(len(file)) + varint(len(part))
        file += part + trailer(part)
    return file + handles.ljust(40, b"\0") + MAGIC


BETA = {"InceptionV4/a/BatchNorm/beta": np.arange(3, dtype="f4")}
HEADER = whole_number_field(1, 1)


def repeated() -> bytes:
    pairs = [(b"", HEADER), (b"a", entry(np.zeros(3, "f4"), 0))]
    size = len(block(pairs))
    return second_table(pairs, [(b"%06d" % n, varint(0) + varint(size)) for n in range(1000)])


def long_key() -> bytes:
    return sorted_table([(b"", HEADER), (b"a" * 5000, entry(np.zeros(3, "f4"), 0))])


def two_of(**changes: Any) -> bytes:
    pairs = [(name, entry(np.zeros(3, "f4"), 0, **changes)) for name in (b"a", b"b")]
    return sorted_table([(b"", HEADER), *pairs])


INDICES: dict[str, Callable[[], bytes]] = {
    "a/BatchNorm/beta ends 8 bytes after model.ckpt.data-00000-of-00001": lambda: sorted_table(
        [(b"", HEADER), (b"a/BatchNorm/beta", entry(np.arange(3, dtype="f4"), 8))]
    ),
    "its tensors overlap": two_of,
    "a of 3x1000000 has 6 bytes": lambda: two_of(shape=(3, 1_000_000), size=6),
    "a has too many or too large dimensions": lambda: two_of(shape=(0, 2**62)),
    "the checksum of a differs": lambda: sorted_table(
        [(b"", HEADER), (b"a", entry(np.zeros(3, "f4"), 0, checksum=1))]
    ),
    "a is in data file 3 of 1": lambda: two_of(shard=3),
    "a is partitioned, which is not supported": lambda: two_of(more=text_field(7, b"")),
    "its numbers are big-endian": lambda: sorted_table([(b"", HEADER + whole_number_field(2, 1))]),
    "it states 100001 data files": lambda: sorted_table([(b"", whole_number_field(1, 100_001))]),
    "it is compressed by snappy, which is not supported": lambda: sorted_table(
        [(b"", HEADER)], compression=1
    ),
    "its blocks overlap": repeated,
    "a key or a value is longer than its block": long_key,
    "a message has over 64 fields": lambda: two_of(more=whole_number_field(9, 1) * 100),
    "it has over 100000 entries": lambda: sorted_table(
        [(b"", HEADER), *((b"%06d" % n, b"") for n in range(100_000))], per_block=10**6
    ),
    "it is a sorted table with other content": lambda: sorted_table([(b"a", b"b")]),
    "a block ends": lambda: second_table([(b"", HEADER)], [(b"", varint(10**9) + varint(9))]),
}


@pytest.mark.parametrize("said", INDICES)
def test_an_index_that_lies_is_refused_in_one_line(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.ckpt.data-00000-of-00001").write_bytes(np.arange(3, dtype="f4").tobytes())
    Path("model.ckpt.index").write_bytes(INDICES[said]())
    check_one_line(inceptcli("import", "model.ckpt", "--output", "a.safetensors"), 1, said)
    assert not Path("a.safetensors").exists()


def test_a_missing_data_file_and_a_partitioned_variable_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_version_2(Path("model.ckpt"), BETA)
    Path("model.ckpt.data-00000-of-00001").unlink()
    done = inceptcli("import", "model.ckpt.index", "--output", "a.safetensors")
    check_one_line(done, 1, "model.ckpt.data-00000-of-00001: No such file or directory")
    write_version_1(Path("old.ckpt"), BETA, slices=2)
    done = inceptcli("import", "old.ckpt", "--output", "a.safetensors")
    check_one_line(done, 1, "InceptionV4/a/BatchNorm/beta is partitioned, which is not supported")


def test_a_version_1_with_too_many_tensors_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inceptcli.weights.formats.tensorflow_checkpoint.MOST_ENTRIES", 3)
    path = write_version_1(tmp_path / "old.ckpt", ARRAYS)
    with pytest.raises(UserError, match="it has over 3 tensors"):
        read_tensorflow_checkpoint(path)


def test_tensors_may_lie_in_several_data_files(tmp_path: Path) -> None:
    values = [np.arange(3, dtype="f4"), np.arange(5, dtype="f4")]
    pairs = [(b"", whole_number_field(1, 2))]
    for number, array in enumerate(values):
        (tmp_path / f"a.ckpt.data-{number:05}-of-00002").write_bytes(array.tobytes())
        pairs.append((b"ab"[number : number + 1], entry(array, 0, shard=number)))
    (tmp_path / "a.ckpt.index").write_bytes(sorted_table(pairs))
    found = read_tensorflow_checkpoint(tmp_path / "a.ckpt.index").groups[""]
    assert [found[name].tolist() for name in "ab"] == [[0, 1, 2], [0, 1, 2, 3, 4]]
    before = sha256(tmp_path / "a.ckpt.index")
    (tmp_path / "a.ckpt.data-00001-of-00002").write_bytes(b"x")
    assert sha256(tmp_path / "a.ckpt.index") != before


def test_what_was_cut_short_or_is_still_packed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = write_version_1(Path("old.ckpt"), ARRAYS).read_bytes()
    Path("old.ckpt").write_bytes(whole[:-20])
    Path("inception_v4_2016_09_09.tar.gz").write_bytes(gzip.compress(whole))
    write_version_2(Path("new.ckpt"), ARRAYS)
    Path("new.ckpt.index").write_bytes(Path("new.ckpt.index").read_bytes()[:-20])
    for name, said in (
        ("old.ckpt", "it looks like a truncated TensorFlow checkpoint"),
        ("new.ckpt", "new.ckpt.index: a damaged TensorFlow checkpoint: it is truncated"),
        ("inception_v4_2016_09_09.tar.gz", "it is compressed by gzip; unpack it first"),
    ):
        check_one_line(inceptcli("import", name, "--output", "a.safetensors"), 1, said)


def test_every_name_of_a_checkpoint_leads_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_version_2(Path("model.ckpt-7"), BETA)
    Path("model.ckpt-7.meta").write_bytes(b"\n")
    for name in ("model.ckpt-7", "model.ckpt-7.index"):
        done = inceptcli("import", name, "--output", "a.safetensors")
        check_one_line(done, 1, "model.ckpt-7.index: not a supported network")
    for name in ("model.ckpt-7.meta", "model.ckpt-7.data-00000-of-00001"):
        done = inceptcli("import", name, "--output", "a.safetensors")
        check_one_line(done, 2, f"{name}: part of a TensorFlow checkpoint; give model.ckpt-7.ind")
    for name in ("model.ckpt-7", "model.ckpt-7.index"):
        done = inceptcli("predict", "a.png", "--weights", name)
        said = "a TensorFlow checkpoint; convert it with inceptcli import model.ckpt-7.index --outp"
        check_one_line(done, done.exit_code, said)


def outcome(path: Path) -> str:
    try:
        check(path)
    except UserError as error:
        return "several lines" if "\n" in str(error) else "one line"
    return "the same"


@pytest.mark.parametrize("version", WRITERS)
def test_damage_is_seen(version: str, tmp_path: Path) -> None:
    path = WRITERS[version](tmp_path / "model.ckpt", ARRAYS)
    files = sorted(tmp_path.iterdir())
    whole = {file: file.read_bytes() for file in files}
    outcomes = set()
    for number in range(300):
        chance = random.Random(number)
        file = chance.choice(files)
        data = bytearray(whole[file])
        place = chance.randrange(len(data))
        if chance.random() < 0.3:
            del data[place:]
        else:
            data[place] ^= 1 << chance.randrange(8)
        file.write_bytes(data)
        outcomes.add(outcome(path))
        file.write_bytes(whole[file])
    assert "one line" in outcomes
    assert outcomes <= {"one line", "the same"}


WRITE = """
import sys, numpy as np, tensorflow as tf
tf1 = tf.compat.v1
with tf.Graph().as_default(), tf1.Session() as session:
    for name, array in np.load("arrays.npz").items():
        tf1.get_variable(name, initializer=array, use_resource=False)
    if "parts" in sys.argv:
        halves = tf1.fixed_size_partitioner(2)
        tf1.get_variable("parts", (4, 2), use_resource=False, partitioner=halves)
    session.run(tf1.global_variables_initializer())
    tf1.train.Saver(write_version=tf1.train.SaverDef.V1).save(session, "./one.ckpt")
    tf1.train.Saver().save(session, "./two.ckpt")
"""


@pytest.mark.system
@pytest.mark.parity
@pytest.mark.skipif(find_spec("tensorflow") is None, reason="tensorflow is not installed")
@pytest.mark.parametrize("parts", [False, True])
def test_what_tensorflow_writes_is_read(parts: bool, tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays", **ARRAYS)  # type: ignore[arg-type]
    done = subprocess.run(
        [sys.executable, "-c", WRITE, *["parts"] * parts],
        cwd=tmp_path,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in ("one.ckpt", "two.ckpt.index"):
        if parts:
            with pytest.raises(UserError, match="parts is partitioned, which is not supported"):
                read_tensorflow_checkpoint(tmp_path / name)
        else:
            check(tmp_path / name)
