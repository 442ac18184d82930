import struct
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor, wait
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from inceptcli.data.pixels import decode as decoding
from inceptcli.data.pixels.decode import decode
from inceptcli.errors import UserError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def encoded(image: Image.Image, image_format: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def noise(height: int = 40, width: int = 30) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def bitmap_of(image: Image.Image) -> bytes:
    """A BMP of 32 bits with alpha, which Pillow reads but does not write."""
    masks = b"".join(mask.to_bytes(4, "little") for mask in (0xFF, 0xFF00, 0xFF0000, 0xFF000000))
    sizes = struct.pack("<3i2H6I", 56, image.width, image.height, 1, 32, 3, 0, 0, 0, 0, 0)
    pixels = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).tobytes()
    start = 14 + len(sizes) + len(masks)
    return struct.pack("<2s3I", b"BM", start + len(pixels), 0, start) + sizes + masks + pixels


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "PPM", "TIFF"])
def test_lossless_formats_give_their_pixels(image_format: str) -> None:
    pixels = decode(encoded(Image.fromarray(noise()), image_format))
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    np.testing.assert_array_equal(pixels, noise())


def test_webp_gives_its_pixels() -> None:
    image = encoded(Image.fromarray(noise()), "WEBP", lossless=True)
    np.testing.assert_array_equal(decode(image), noise())


def test_a_path_is_decoded_by_its_bytes_whatever_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "picture.txt"
    path.write_bytes(encoded(Image.fromarray(noise()), "PNG"))
    np.testing.assert_array_equal(decode(path), noise())


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, ["RG", "BW"]),
        (2, ["GR", "WB"]),
        (3, ["WB", "GR"]),
        (4, ["BW", "RG"]),
        (5, ["RB", "GW"]),
        (6, ["BR", "WG"]),
        (7, ["WG", "BR"]),
        (8, ["GW", "RB"]),
        (9, ["RG", "BW"]),
    ],
)
@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_exif_orientation_is_applied(
    orientation: int, upright: list[str], image_format: str
) -> None:
    stored = np.array([[RED, GREEN], [BLUE, WHITE]], np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    colors = {"R": RED, "G": GREEN, "B": BLUE, "W": WHITE}
    pixels = decode(encoded(Image.fromarray(stored), image_format, exif=exif))
    assert pixels.tolist() == [[[*colors[letter]] for letter in row] for row in upright]


@pytest.mark.parametrize(
    ("image_format", "exif"),
    [
        ("JPEG", b"nonsense"),
        ("WEBP", b"nonsense"),
        ("WEBP", b"II+\0\0\0\0\0"),  # a header cut short
        ("PNG", b"II+\0\0\0\0\0"),
        ("JPEG", b"II*\0\x08\0\0\0\xff\xff"),  # a table of 65535 tags that are not there
        ("JPEG", b"II*\0\x08\0\0\0\1\0\x12\1\2\0\2\0\0\0x\0\0\0\0\0\0\0"),  # orientation "x"
    ],
)
def test_broken_exif_does_not_lose_a_good_image(image_format: str, exif: bytes) -> None:
    image = Image.new("RGB", (8, 8), (10, 20, 30))
    file = encoded(image, image_format, quality=100, exif=b"Exif\0\0" + exif)
    np.testing.assert_allclose(decode(file)[0, 0], (10, 20, 30), atol=3)


@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(image_format: str) -> None:
    # Pillow writes CMYK JPEGs as Adobe does: inverted and marked so.
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    np.testing.assert_allclose(decode(encoded(red, image_format))[8, 8], RED, atol=3)


def test_cmyk_white_is_white() -> None:
    paper = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
    np.testing.assert_allclose(decode(encoded(paper, "JPEG"))[8, 8], WHITE, atol=3)


def test_a_transparent_palette_entry_is_white() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([*RED, *GREEN, *BLUE])
    image.putdata([0, 1, 2])
    assert decode(encoded(image, "PNG"))[0].tolist() == [[*RED], [*GREEN], [*BLUE]]
    by_index = encoded(image, "PNG", transparency=1)
    assert decode(by_index)[0].tolist() == [[*RED], [*WHITE], [*BLUE]]
    by_alpha = encoded(image, "PNG", transparency=bytes([255, 0, 51]))
    assert decode(by_alpha)[0].tolist() == [[*RED], [*WHITE], [204, 204, 255]]
    gif = encoded(image, "GIF", transparency=1)
    assert decode(gif)[0].tolist() == [[*RED], [*WHITE], [*BLUE]]


def test_alpha_is_laid_over_white() -> None:
    image = Image.new("RGBA", (3, 1))
    image.putdata([(255, 0, 0, 255), (255, 0, 0, 51), (255, 0, 0, 0)])
    expected = [[*RED], [255, 204, 204], [*WHITE]]
    for file in (encoded(image, "PNG"), encoded(image, "TIFF"), bitmap_of(image)):
        assert decode(file)[0].tolist() == expected


def test_gray_with_alpha_is_laid_over_white() -> None:
    image = Image.new("LA", (3, 1))
    image.putdata([(100, 255), (0, 51), (0, 0)])
    assert decode(encoded(image, "PNG"))[0].tolist() == [[100] * 3, [204] * 3, [255] * 3]


def test_a_palette_with_alpha_is_laid_over_white() -> None:
    index = Image.new("P", (2, 1), 1)
    index.putpalette([*RED, *BLUE])
    image = Image.merge("PA", [index, Image.new("L", (2, 1))])
    image.putpalette([*RED, *BLUE])
    image.putdata([(1, 255), (1, 0)])
    assert decode(encoded(image, "TIFF"))[0].tolist() == [[*BLUE], [*WHITE]]


def test_a_transparent_color_is_white() -> None:
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), RED)
    pixels = decode(encoded(image, "PNG", transparency=RED))
    assert pixels[0].tolist() == [[1, 2, 3], [*WHITE]]


def test_a_bitmap_that_leaves_its_fourth_byte_at_zero_keeps_its_colors() -> None:
    bitmap = bitmap_of(Image.new("RGBA", (2, 2), (10, 20, 30, 0)))
    with Image.open(BytesIO(bitmap)) as opened:
        for image in (bitmap, opened, opened.copy(), opened.crop((0, 0, 1, 1))):
            assert decode(image)[0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "PPM"])
def test_16_bit_gray_keeps_its_shades(image_format: str) -> None:
    values = np.array([[0, 257, 257 * 100, 257 * 100 + 129, 65535]], np.uint16)
    pixels = decode(encoded(Image.fromarray(values), image_format))
    assert pixels[0].tolist() == [[level] * 3 for level in (0, 1, 100, 101, 255)]


def test_16_bit_gray_of_the_other_byte_order_keeps_its_shades() -> None:
    image = Image.frombytes("I;16B", (2, 1), np.array([257, 257 * 100], ">u2").tobytes())
    file = encoded(image, "TIFF")
    with Image.open(BytesIO(file)) as opened:
        assert opened.mode == "I;16B"
    assert decode(file)[0, :, 0].tolist() == [1, 100]


def gray_tiff(bits: int, zero: str, content: bytes) -> bytes:
    """A TIFF of one row of two gray pixels; `zero` is the color of 0."""
    tags = [(256, 2), (257, 1), (258, bits), (259, 1), (262, int(zero == "black")), (273, 110),
            (278, 1), (279, len(content))]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + content


def test_12_bit_gray_is_white_at_4095() -> None:
    assert decode(gray_tiff(12, "black", b"\xff\xf8\x00"))[0, :, 0].tolist() == [255, 128]


def test_16_bit_gray_whose_zero_is_white_is_inverted() -> None:
    content = np.array([0, 257 * 100], "<u2").tobytes()
    assert decode(gray_tiff(16, "white", content))[0, :, 0].tolist() == [255, 155]
    assert decode(gray_tiff(16, "black", content))[0, :, 0].tolist() == [0, 100]


@pytest.mark.parametrize("mode", ["I;16", "F"])
def test_gray_of_many_bits_takes_little_more_memory_than_its_pixels(
    monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setattr(decoding, "STRIP_PIXELS", 2**16)
    values = np.arange(2_000_000, dtype=np.float32).reshape(1000, 2000) % 65536
    file = encoded(
        Image.fromarray(values.astype(np.uint16 if mode == "I;16" else np.float32)), "TIFF"
    )
    tracemalloc.start()
    pixels = decode(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5 * pixels.nbytes + len(file)
    assert pixels[-1, -1].tolist() == [round(values[-1, -1] / 257)] * 3 or mode == "F"


def test_threads_share_the_pixels_that_one_image_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    room = decoding._Room(1200)  # one image of 40 by 30
    monkeypatch.setattr(decoding, "_ROOM", room)
    inside, most = [], []

    def convert(image: Image.Image) -> NDArray[np.uint8]:
        inside.append(image)
        most.append(len(inside))
        time.sleep(0.01)
        inside.pop()
        return np.asarray(image)

    monkeypatch.setattr(decoding, "_rgb", convert)
    with ThreadPoolExecutor(4) as threads:
        assert len([*threads.map(decode, [encoded(Image.fromarray(noise()), "PNG")] * 8)]) == 8
    assert max(most) == 1
    assert room.free == 1200
    room.free = 1199
    with ThreadPoolExecutor(1) as threads:  # of a JPEG, too
        waiting = threads.submit(decode, encoded(Image.fromarray(noise()), "JPEG"))
        assert not wait([waiting], timeout=0.2).done
        with room.taken(0):
            room.free = 1200
        assert waiting.result().shape == (40, 30, 3)
    with pytest.raises(UserError, match="truncated"):
        decode(encoded(Image.fromarray(noise()), "PNG")[:-900])
    assert room.free == 1200


def test_a_transparent_16_bit_gray_is_white() -> None:
    image = Image.fromarray(np.array([[0, 257]], np.uint16))
    assert decode(encoded(image, "PNG", transparency=257))[0].tolist() == [[0] * 3, [255] * 3]


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([0, 257 * 100, 65535], [0, 100, 255]),
        ([-1000, 0, 4100], [0, 50, 255]),
        ([7, 7, 7], [0] * 3),
    ],
)
def test_32_bit_integers_are_16_bit_gray_or_stretched(values: list[int], levels: list[int]) -> None:
    image = Image.fromarray(np.array([values], np.int32))
    assert decode(encoded(image, "TIFF"))[0, :, 0].tolist() == levels


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([0.0, 0.2, 1.0], [0, 51, 255]),
        ([0.0, 51.0, 200.0], [0, 51, 200]),
        ([-1.0, 0.0, 4.0], [0, 51, 255]),
        ([0.0, 1000.0, 5000.0], [0, 51, 255]),
        ([9000.0, 9000.0, 9000.0], [0, 0, 0]),
        ([np.nan, 0.2, np.inf], [0, 51, 255]),
        ([-np.inf, np.nan, np.inf], [0, 0, 255]),
        ([-3e38, 0.0, 3e38], [0, 128, 255]),
    ],
)
def test_floats_are_scaled_by_the_stated_rule(values: list[float], levels: list[int]) -> None:
    image = Image.fromarray(np.array([values], np.float32))
    assert decode(encoded(image, "TIFF"))[0, :, 0].tolist() == pytest.approx(levels, abs=0.5)


def test_one_bit_images_are_black_and_white() -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert decode(encoded(image, "PNG"))[0].tolist() == [[*BLACK], [*WHITE]]


def test_lab_and_ycbcr_become_rgb() -> None:
    lab = Image.new("LAB", (2, 1), (255, 128, 128))
    lab.putpixel((1, 0), (0, 128, 128))
    np.testing.assert_allclose(decode(encoded(lab, "TIFF"))[0], [WHITE, BLACK], atol=2)
    ycbcr = Image.new("YCbCr", (1, 1), (76, 85, 255))
    np.testing.assert_allclose(decode(encoded(ycbcr, "TIFF"))[0, 0], RED, atol=2)


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(image_format: str) -> None:
    first, second = Image.new("RGB", (16, 16), RED), Image.new("RGB", (16, 16), BLUE)
    options = {"lossless": True} if image_format == "WEBP" else {}
    image = encoded(first, image_format, save_all=True, append_images=[second], **options)
    assert decode(image)[8, 8].tolist() == [*RED]


def test_decoding_imports_no_torch() -> None:
    modules = (
        "inceptcli.data.pixels.decode, inceptcli.data.pixels.preprocessing, inceptcli.data.folders"
    )
    program = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(("mode", "kind"), [("RGB", "PNG"), ("RGBA", "PNG"), ("RGBA", "BMP")])
def test_colors_take_little_more_memory_than_their_pixels_and_come_out_the_same(
    mode: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (600, 700, len(mode)), np.uint8)
    path = tmp_path / "a"
    Image.fromarray(levels).save(path, kind)
    whole = decode(path)
    monkeypatch.setattr(decoding, "STRIP_PIXELS", 7000)
    tracemalloc.start()
    found = decode(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.array_equal(found, whole)
    assert peak < 1.3 * whole.nbytes
