import os
import threading
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageFile

from inceptcli.data.pixels import decode as module
from inceptcli.data.pixels.decode import MAXIMUM_PIXELS, UnreadableImage, decode
from inceptcli.errors import UserError
from tests.odd_files import OddFiles, chunk, encoded, png_of


def reason_for(source: Path | bytes) -> str:
    with pytest.raises(UnreadableImage) as caught:
        decode(source)
    reason = str(caught.value)
    assert reason
    assert reason.isprintable()
    return reason


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_a_truncated_file_is_unreadable(image_format: str) -> None:
    image = encoded(Image.effect_noise((40, 30), 100), image_format)
    assert reason_for(image[: len(image) * 3 // 4])


def test_the_reason_of_a_truncated_jpeg_is_pillows() -> None:
    image = encoded(Image.effect_noise((40, 30), 100), "JPEG")
    assert reason_for(image[:-200]).startswith("image file is truncated")


def test_too_many_pixels_are_refused_before_the_pixels_are_looked_at() -> None:
    assert reason_for(png_of(65536, 65536)) == (
        f"4294967296 pixels, over the limit of {MAXIMUM_PIXELS}"
    )
    assert reason_for(png_of(20000, 8948)).endswith(f"over the limit of {MAXIMUM_PIXELS}")
    assert "limit" not in reason_for(png_of(100, 100))


def test_the_pixel_limit_holds_without_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert reason_for(png_of(20000, 8948)) == (
        f"20000x8948 pixels, over the limit of {MAXIMUM_PIXELS}"
    )


def test_the_pixel_limit_holds_for_a_plain_jpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAXIMUM_PIXELS", 99)
    monkeypatch.setattr(simplejpeg, "decode_jpeg", None)
    file = encoded(Image.new("RGB", (20, 5)), "JPEG")
    assert reason_for(file) == "20x5 pixels, over the limit of 99"


def test_too_large_a_file_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sparse.bmp"
    path.touch()
    os.truncate(path, module.MAXIMUM_FILE_BYTES + 1)
    assert reason_for(path) == "536870913 bytes, over the limit of 536870912"
    monkeypatch.setattr(module, "MAXIMUM_FILE_BYTES", 10)
    assert reason_for(bytes(11)) == "11 bytes, over the limit of 10"


def test_what_is_not_an_image_says_which_formats_are() -> None:
    reason = "not an image of a known format (AVIF, BMP, GIF, JPEG, JPEG2000, PNG, PPM, TIFF, WEBP)"
    assert reason_for(b"hello") == reason
    assert reason_for(encoded(Image.new("L", (4, 4)), "EPS")) == f"{reason} but PostScript"
    assert reason_for(encoded(Image.new("L", (4, 4)), "PCX")) == reason


def test_a_png_whose_exif_chunk_is_none_is_refused_as_for_other_malformed_chunks() -> None:
    file = encoded(Image.new("L", (4, 4)), "PNG")
    end = chunk(b"IEND", b"")
    damaged = file.removesuffix(end) + chunk(b"eXIf", b"nonsense") + end
    assert reason_for(damaged).startswith("not a TIFF file")


def test_an_empty_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    assert reason_for(tmp_path / "empty.png") == "empty file"
    assert reason_for(b"") == "empty file"


def test_an_image_without_pixels_is_unreadable() -> None:
    assert reason_for(b"P6 0 4 255\n")
    assert reason_for(png_of(0, 5))


def test_a_missing_file_a_folder_and_a_pipe_say_what_they_are(tmp_path: Path) -> None:
    assert reason_for(tmp_path / "absent.png") == "No such file or directory"
    assert reason_for(tmp_path) == "is a folder"
    os.mkfifo(tmp_path / "pipe.png")
    assert reason_for(tmp_path / "pipe.png") == "not a regular file"
    assert reason_for(tmp_path / "nul\0.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(encoded(Image.new("L", (4, 4)), "PNG"))
    path.chmod(0)
    assert reason_for(path) == "Permission denied"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(13, "Permission denied"), "Permission denied"),
        (MemoryError(), "not enough memory"),
        (EOFError(), "EOFError"),
        (IndexError("line\nbreak \x1b[31m"), "line\\nbreak \\x1b[31m"),
        (zlib.error("Error -3"), "Error -3"),
        (OverflowError("too large"), "too large"),
    ],
)
def test_every_failure_of_pillow_becomes_one_printable_line(
    error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    assert reason_for(encoded(Image.new("L", (4, 4)), "GIF")) == reason


def test_unreadable_images_are_user_errors() -> None:
    assert issubclass(UnreadableImage, UserError)


def test_pillows_warnings_stay_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    image = encoded(Image.new("RGB", (15, 10)), "PNG")
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(BytesIO(image)).close()
    for _ in range(2):  # leaving the block undoes what silenced the warnings
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert decode(image).shape == (10, 15, 3)
        assert caught == []


def test_threads_decode_alike_and_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    noise = Image.effect_noise((40, 30), 100).convert("RGB")
    image = encoded(noise, "PNG")
    results: list[NDArray[np.uint8]] = []
    threads = [
        threading.Thread(target=lambda: results.extend(decode(image) for _ in range(20)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 80  # a warning would be an error here and end its thread
    assert all(np.array_equal(result, np.asarray(noise)) for result in results)


def test_the_files_that_decoders_stumble_over(odd_files: OddFiles) -> None:
    assert len(odd_files.broken()) > 10
    for name, size in odd_files.sizes.items():
        path = odd_files.folder / name
        if size is None:
            assert reason_for(path), name
        else:
            assert decode(path).shape == (*size, 3), name
