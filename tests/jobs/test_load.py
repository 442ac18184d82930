"""`inceptcli.load`: answers of the command line, for whatever holds an image."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

import inceptcli
from inceptcli.jobs.load import Model
from inceptcli.prediction.engines.onnx_engine import OnnxEngine
from tests.cli.conftest import inceptcli as command
from tests.prediction.conftest import draw


@pytest.fixture(scope="module")
def model(weights: Path) -> Model:
    return inceptcli.load(weights)


def test_answers_are_those_of_the_command(
    model: Model, weights: Path, pictures: list[Path]
) -> None:
    done = command("predict", *pictures, "--weights", weights, "--format", "jsonl", "--top-k", "2")
    expected = [json.loads(line) for line in done.stdout.splitlines()]
    for answer, row in zip(model.predict(pictures, top_k=2), expected, strict=True):
        assert (answer.path, answer.error) == (row["path"], None)
        for found, other in zip(answer.top, row["predictions"], strict=True):
            assert (found.name, found.index) == (other["class"], other["index"])
            assert found.probability == pytest.approx(other["probability"], abs=1e-6)


def test_a_folder_a_pattern_and_a_tar_file_stand_for_their_images(
    model: Model, pictures: list[Path], tmp_path: Path
) -> None:
    folder = pictures[0].parent
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        archive.add(pictures[2], "2.png")
    inputs: list[Any] = [folder, f"{folder}/[01].png", tmp_path / "0.tar"]
    paths = [answer.path for answer in model.predict(inputs)]
    assert paths == [*map(str, pictures), *map(str, pictures[:2]), f"{tmp_path}/0.tar/2.png"]


@pytest.mark.parametrize("kind", [str, object])
def test_an_array_of_paths_is_an_iterable_of_paths(
    kind: type, model: Model, pictures: list[Path]
) -> None:
    paths = [str(path) for path in pictures[:2]]
    answers = model.predict(np.array(paths if kind is str else pictures[:2], kind))
    assert [answer.path for answer in answers] == paths


def test_what_holds_an_image_makes_no_difference(model: Model, tmp_path: Path) -> None:
    path = draw(tmp_path / "a.png", 3)
    image = Image.open(path)
    pixels = np.asarray(image.convert("RGB"))
    with path.open("rb") as file:
        inputs: list[Any] = [
            path,
            str(path),
            path.read_bytes(),
            bytearray(path.read_bytes()),
            memoryview(path.read_bytes()),
            file,
            io.BytesIO(path.read_bytes()),
            image,
        ]
        answers = list(model.predict([*inputs, pixels, *np.stack([pixels])]))
    assert len({answer.top for answer in answers}) == 1
    assert [answer.path for answer in answers[2:]] == [f"images[{n}]" for n in range(2, 10)]
    (alone,) = model.predict(pixels)
    (held,) = model.predict(bytearray(path.read_bytes()))
    (batch,) = model.predict(np.stack([pixels]))
    assert alone.top == held.top == batch.top == answers[0].top


def test_images_of_pillow_are_turned_and_flattened_as_files_are(
    model: Model, tmp_path: Path
) -> None:
    image = Image.open(draw(tmp_path / "a.png", 3)).convert("RGBA")
    image.putalpha(100)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "b.png", exif=exif)
    in_memory = Image.open(tmp_path / "b.png")
    (file,), (memory,) = model.predict(tmp_path / "b.png"), model.predict(in_memory)
    assert file.top == memory.top
    (plain,) = model.predict(tmp_path / "a.png")
    assert plain.top != file.top


def test_embeddings_are_the_networks_in_order(
    model: Model, weights: Path, pictures: list[Path]
) -> None:
    rows = model.embed(pictures[0].parent)
    assert rows.shape == (7, OnnxEngine(weights).embedding_width)
    assert rows.dtype == np.float32
    assert model.embed(pictures[3]) == pytest.approx(rows[3:4], abs=1e-5)
    assert model.embed([]).shape == (0, rows.shape[1])


@pytest.mark.parametrize(
    ("image", "error", "said"),
    [
        ("none.png", FileNotFoundError, "none.png"),
        ("none.tar", FileNotFoundError, "none.tar"),
        ("text.png", ValueError, "text.png: not an image"),
        ("none/*.png", ValueError, "none/*.png: no file matches this pattern"),
        (b"", ValueError, "images[0]: empty file"),
        (np.zeros((4, 4), np.uint8), ValueError, "images[0]: an array of shape (4, 4)"),
        (np.zeros((4, 4, 3)), ValueError, "shape (H, W, 3); for values of 0 to 1: (255 * array)"),
        (np.zeros((3, 4, 4), np.uint8), ValueError, "move the channels: array.transpose(1, 2, 0)"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, "shape (0, 4, 3)"),
        (Image.new("RGB", (0, 4)), ValueError, "images[0]: 0x4 pixels"),
        ([3], TypeError, "images[0] must be a path, bytes"),
        ([io.StringIO("text")], TypeError, "got StringIO"),
    ],
)
def test_an_image_that_cannot_be_read_is_an_ordinary_error(
    image: Any,
    error: type[Exception],
    said: str,
    model: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.png").write_text("text")
    for ask in (model.predict, model.embed):
        with pytest.raises(error) as raised:
            list(ask(image))
        assert said in str(raised.value)
        assert type(raised.value) is error


def test_errors_are_returned_where_that_is_asked_for(model: Model, pictures: list[Path]) -> None:
    first, second, third = model.predict([pictures[0], "none.png", b"x"], errors="return")
    assert first.error is None
    assert (second.path, second.error) == ("none.png", "No such file or directory")
    assert third.error is not None
    assert not third.top


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"weights": "none.safetensors"}, FileNotFoundError, "none.safetensors: no such weights"),
        ({"crops": 2}, ValueError, "--crops must be 1, 10, 12 or 144, got 2"),
        ({"device": "gpu"}, ValueError, "--device must be auto, cpu"),
        ({"precision": "half"}, ValueError, "--precision must be 32-true"),
        ({"batch_size": 0}, ValueError, "--batch-size must be a whole number of at least 1"),
        ({"batch_size": 1.5}, ValueError, "--batch-size must be a whole number of at least 1"),
        ({"devices": 0}, ValueError, "--devices must be a whole number of at least 1"),
        ({"fast_decode": "no"}, ValueError, "--fast-decode must be True or False, got 'no'"),
        ({"weights": []}, ValueError, "no weights; give at least one"),
        ({"weights": ""}, ValueError, "weights: the value is empty"),
        ({"weights": ["runs/a", ""]}, ValueError, "weights: the value is empty"),
        ({"compile": True}, ValueError, "--compile needs a GPU"),
        ({"speed": 3}, TypeError, "no option 'speed'; options: crops, device"),
        ({"weights": "imagent"}, FileNotFoundError, "did you mean imagenet?"),
    ],
)
def test_wrong_options_are_ordinary_errors(
    options: dict[str, object], error: type[Exception], said: str, weights: Path
) -> None:
    with pytest.raises(error, match=re.escape(said)):
        inceptcli.load(**{"weights": weights, **options})  # type: ignore[arg-type]


def test_a_damaged_weights_file_is_a_runtime_error(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"damaged")
    with pytest.raises(RuntimeError, match="not an inceptcli weights file"):
        inceptcli.load(tmp_path / "a.safetensors")


def test_wrong_arguments_of_predict_are_said_before_anything_is_computed(model: Model) -> None:
    with pytest.raises(ValueError, match="top_k must be at least 1"):
        model.predict([], top_k=0)
    with pytest.raises(TypeError, match="'float' object"):
        model.predict([], top_k=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='errors must be "raise" or "return"'):
        model.predict([], errors="ignore")  # type: ignore[arg-type]


def test_a_model_in_a_fork_is_an_error_instead_of_a_wait(weights: Path) -> None:
    program = """
import multiprocessing, sys, inceptcli
model = inceptcli.load(sys.argv[1])
def said(ask):
    try:
        return len(list(getattr(model, ask)([])))
    except RuntimeError as error:
        return str(error)
with multiprocessing.get_context("fork").Pool(1) as pool:
    print(*pool.map(said, ["predict", "embed"]), said("predict"), sep="\\n")
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(weights)], capture_output=True, text=True, timeout=60
    )
    *forked, own = done.stdout.splitlines()
    assert own == "0", done.stderr
    assert len(forked) == 2
    assert all("call inceptcli.load in each process" in line for line in forked)


def test_an_ensemble_averages_and_has_no_embeddings(
    model: Model, weights: Path, pictures: list[Path]
) -> None:
    twice = inceptcli.load([weights, weights])
    (answer,), (alone,) = twice.predict(pictures[0]), model.predict(pictures[0])
    assert answer.top[0].probability == pytest.approx(alone.top[0].probability, abs=1e-6)
    with pytest.raises(ValueError, match="one network and one crop"):
        twice.embed(pictures[0])


def test_the_package_imports_nothing_heavy_and_predicting_no_torch(
    weights: Path, pictures: list[Path]
) -> None:
    program = (
        "import sys, inceptcli; assert not {'numpy', 'PIL', 'typer', 'rich'} & {*sys.modules};"
        f"assert dir(inceptcli) and inceptcli.load({str(weights)!r});"
        f"print(*(a.top[0].name for a in inceptcli.load({str(weights)!r}).predict("
        f"{str(pictures[0])!r}))); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_there_is_nothing_else_in_the_package() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'training_loop'"):
        inceptcli.training_loop  # noqa: B018


def test_what_an_iterator_reuses_counts_as_it_was(model: Model, tmp_path: Path) -> None:
    paths = [draw(tmp_path / f"{number}.png", number, (90, 90)) for number in range(6)]
    images = [np.asarray(Image.open(path)) for path in paths]
    expected = [answer.top for answer in model.predict(images)]
    assert len(set(expected)) == 6

    def frames() -> Iterator[np.ndarray]:
        buffer = np.empty_like(images[0])
        for image in images:
            buffer[:] = image
            yield buffer

    assert [answer.top for answer in model.predict(frames())] == expected
    first, *others = (Image.fromarray(image) for image in images)
    first.save(tmp_path / "all.tiff", save_all=True, append_images=others)
    with Image.open(tmp_path / "all.tiff") as image:
        pages = ImageSequence.Iterator(image)
        assert [answer.top for answer in model.predict(pages)] == expected


def test_an_image_that_is_not_loaded_yet_may_be_given_several_times(
    model: Model, tmp_path: Path
) -> None:
    with Image.open(draw(tmp_path / "a.png", 3, (900, 900))) as image:
        assert len({answer.top for answer in model.predict([image] * 6)}) == 1


def test_streams_are_read_to_their_end(model: Model, tmp_path: Path) -> None:
    path = draw(tmp_path / "a.png", 3)

    class Slow(io.RawIOBase):
        def __init__(self) -> None:
            self.left = path.read_bytes()

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            part, self.left = self.left[:100], self.left[100:]
            buffer[: len(part)] = part
            return len(part)

    inputs: list[Any] = [Slow(), path]
    slow, whole = model.predict(inputs)
    assert slow.top == whole.top


def test_bad_inputs_among_others_are_answers_too(
    model: Model, pictures: list[Path], tmp_path: Path
) -> None:
    closed = pictures[1].open("rb")
    closed.close()
    run = tmp_path / "run"
    run.mkdir()
    for name in ("recipe.yaml", "train.log"):
        (run / name).write_text("")
    inputs: list[Any] = [pictures[0], closed, "", "http://a/b.png", "https://a..b/c.png", str(run)]
    good, *bad, last = model.predict([*inputs, pictures[1]], errors="return")
    assert good.error is None
    assert last.error is None
    assert [answer.path for answer in bad] == ["images[1]", "", *inputs[3:]]
    assert all(answer.error for answer in bad)


def test_answers_before_an_error_of_the_iterator_are_given(
    model: Model, pictures: list[Path]
) -> None:
    def broken() -> Iterator[Path]:
        yield from pictures[:3]
        raise ZeroDivisionError

    answers = model.predict(broken())
    assert [next(answers).path for _ in range(3)] == [str(path) for path in pictures[:3]]
    with pytest.raises(ZeroDivisionError):
        next(answers)
