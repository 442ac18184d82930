"""Formats that are read, with their extras or without, and names for those that are not."""

from __future__ import annotations

import io
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from inceptcli.data.pixels import image_formats
from inceptcli.data.pixels.decode import UnreadableImage, decode, image_format_of
from inceptcli.data.pixels.image_formats import FORMATS, SUFFIXES_OF, format_in, has_suffix
from tests.odd_files import chunk, encoded


def drawn() -> Image.Image:
    """A smooth picture, which no format spoils much."""
    levels = np.random.default_rng(0).integers(0, 256, (3, 4, 3)).astype(np.uint8)
    return Image.fromarray(levels).resize((80, 60), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000"])
def test_formats_of_pillow_are_read(kind: str) -> None:
    picture = drawn()
    content = encoded(picture, kind)
    difference = decode(content).astype(float) - np.asarray(picture)
    assert np.abs(difference).mean() < 4
    assert format_in(content) == kind


def is_turned(content: bytes) -> bool:
    """Whether the picture of `drawn` comes out as orientation 6 has it, and not as it is."""
    picture, found = drawn(), decode(content).astype(float)
    upright = picture.transpose(Image.Transpose.ROTATE_270)
    as_shown = [known for known in (picture, upright) if np.asarray(known).shape == found.shape]
    assert np.abs(found - np.asarray(as_shown[0])).mean() < 6
    return as_shown[0] is upright


def exif(**tags: int) -> bytes:
    found = Image.Exif()
    for name, value in tags.items():
        found[getattr(ExifTags.Base, name)] = value
    return found.tobytes()


def saying_6(content: bytes) -> bytes:
    """The same with orientation 6 in EXIF in place of a resolution unit of 6."""
    unit, orientation = b"\x01\x28\0\3", b"\x01\x12\0\3"
    assert content.count(unit) == 1
    return content.replace(unit, orientation)


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_a_turn_is_taken_from_the_formats_own_box_and_never_twice(kind: str) -> None:
    """As ISO 23008-12 has it; iPhones write both, others EXIF alone, which viewers ignore."""
    if kind == "HEIF":
        pytest.importorskip("pillow_heif")
        image_formats.load_plugin(kind)
    both = encoded(drawn(), kind, exif=exif(Orientation=6))
    assert b"irot" in both
    assert is_turned(both)
    exif_alone = saying_6(encoded(drawn(), kind, exif=exif(ResolutionUnit=6)))
    assert b"irot" not in exif_alone
    assert not is_turned(exif_alone)
    box_alone = saying_6(encoded(drawn(), kind, exif=exif(Orientation=6, ResolutionUnit=6)))
    assert is_turned(box_alone.replace(b"\x01\x12\0\3", b"\x01\x28\0\3"))


def test_a_jpeg_xl_is_turned_by_its_code_stream_and_never_twice(tmp_path: Path) -> None:
    """Most were JPEGs: the code stream says how it is turned, and EXIF, which counts not, too."""
    pytest.importorskip("pillow_jxl")
    image_formats.load_plugin("JXL")
    drawn().save(tmp_path / "a.jpg", exif=exif(Orientation=6), quality=95)
    with Image.open(tmp_path / "a.jpg") as jpeg:
        transcoded = encoded(jpeg, "JXL", lossless_jpeg=True)
    assert is_turned(transcoded)
    exif_alone = saying_6(encoded(drawn(), "JXL", exif=exif(ResolutionUnit=6)))
    assert not is_turned(exif_alone)
    boxes = [*boxes_of(transcoded)]
    kinds = [box[4:8] for box in boxes]
    assert b"jbrd" in kinds  # without it, no JPEG file can be made of it again
    (said,) = (box for box in boxes_of(exif_alone) if box[4:8] == b"Exif")
    pixels = [box for box in boxes if box[4:8] not in (b"jbrd", b"brob")]
    assert is_turned(b"".join([*pixels[:2], said, *pixels[2:]]))


def boxes_of(content: bytes) -> Iterator[bytes]:
    """The boxes of a file in ISO's base format."""
    while content:
        size = int.from_bytes(content[:4], "big") or len(content)
        yield content[:size]
        content = content[size:]


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC, which needs pillow_heif; pip install 'incept"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL, which needs pillow_jxl; pip install 'inceptcli[jxl]'"),
    ],
)
def test_an_extra_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, start: bytes, said: str
) -> None:
    monkeypatch.setattr(image_formats, "find_spec", lambda name: None)
    with pytest.raises(UnreadableImage) as caught:
        decode(start + bytes(300))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"8BPS\0\1", "a Photoshop document"),
        (b"%PDF-1.7", "a PDF document"),
        (b"<?xml version='1.0'?>\n<svg xmlns='x'>", "an SVG drawing"),
        (b"<!DOCTYPE html><html>404", "an HTML page"),
        (b"v/1\x01\2\0\0\0", "an OpenEXR image"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "a video"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "a Canon raw photograph"),
        (bytes(128) + b"DICM", "a DICOM image"),
        (b"\x93NUMPY\1\0", "a NumPy array"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    ],
)
def test_a_format_that_is_not_read_is_named(content: bytes, name: str) -> None:
    with pytest.raises(UnreadableImage) as caught:
        decode(content)
    assert f"but {name}" in str(caught.value)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_png_with_large_metadata_is_read_and_turned(kind: bytes) -> None:
    plain = encoded(drawn(), "PNG", exif=exif(Orientation=8))
    large = zlib.compress(bytes(3 * 1024**2))
    head = b"comment\0" + (b"\1\0\0\0" if kind == b"iTXt" else b"\0")
    content = plain[:33] + chunk(kind, head + large) + plain[33:]
    with pytest.raises(ValueError, match="MAX_TEXT"):
        Image.open(io.BytesIO(content)).load()
    assert np.array_equal(decode(content), decode(plain))
    assert decode(content).shape == (80, 60, 3)


def tiff_of(bands: int, bits: int) -> bytes:
    """Uncompressed, of 6x5 pixels, with as many bands."""
    data = bytes(6 * 5 * bands * bits // 8)
    depths = bits.to_bytes(2, "little") * bands
    entries = [
        (256, 4, 1, 6), (257, 4, 1, 5), (258, 3, bands, 200), (259, 3, 1, 1),
        (262, 3, 1, 1), (273, 4, 1, 300), (277, 3, 1, bands), (278, 4, 1, 5),
        (279, 4, 1, len(data)),
    ]  # fmt: skip
    if len(depths) <= 4:
        entries[2] = (258, 3, bands, int.from_bytes(depths, "little"))
    head = b"II*\0\x08\0\0\0" + len(entries).to_bytes(2, "little")
    for tag, kind, count, value in entries:
        head += b"".join(
            number.to_bytes(size, "little")
            for number, size in ((tag, 2), (kind, 2), (count, 4), (value, 4))
        )
    return (head.ljust(200, b"\0") + depths).ljust(300, b"\0") + data


@pytest.mark.parametrize("bands", [2, 5, 7, 12])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_of_odd_bands_is_one_line(bands: int, bits: int, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff_of(bands, bits))
    code = (
        "import sys; from pathlib import Path; from inceptcli.data.pixels.decode import decode\n"
        "try: decode(Path(sys.argv[1]))\n"
        "except Exception as error: print(error)"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "a.tif")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"a TIFF of {bands} bands of {bits} bits, which is not supported")
    assert done.stderr == ""


def test_libtiff_says_nothing_of_a_damaged_tiff(tmp_path: Path) -> None:
    content = bytearray(encoded(drawn(), "TIFF", compression="tiff_lzw"))
    content[200:2000] = bytes(1800)
    (tmp_path / "a.tif").write_bytes(content)
    code = "import sys; from pathlib import Path; from inceptcli.data.pixels.decode import decode\n"
    code += "try: decode(Path(sys.argv[1]))\nexcept Exception as error: print(error)"
    words = [sys.executable, "-c", code, str(tmp_path / "a.tif")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_every_format_that_is_read_has_suffixes_of_its_own() -> None:
    suffixes = [suffix for group in SUFFIXES_OF.values() for suffix in group]
    assert len(suffixes) == len(set(suffixes))
    assert set(SUFFIXES_OF) == {*FORMATS, *image_formats.PLUGINS}


def test_what_is_no_suffix_says_nothing_about_the_file(tmp_path: Path) -> None:
    for name in ("IMG_0001", "a.jpg_large", "a.jpg?w=200", "2024.05.01", "a. b", "a.é"):
        assert not has_suffix(name)
    for name in ("a.jpg", "a.TXT", "a.7z", "a.mp4"):
        assert has_suffix(name)
    assert image_format_of(tmp_path) is None
