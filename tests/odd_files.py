"""Files that decoders stumble over: odd ones that can be read, and broken ones."""

from __future__ import annotations

import csv
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

ORIENTATION = 0x0112


class OddFiles(NamedTuple):
    """By name below the folder: height and width as they are shown, None for a broken file."""

    folder: Path
    sizes: dict[str, tuple[int, int] | None]

    def broken(self) -> set[str]:
        return {name for name, size in self.sizes.items() if size is None}


def given(data: Path) -> OddFiles:
    """Those of decoders' own test suites; `data` is the folder of the fixture `given_data`."""
    sizes: dict[str, tuple[int, int] | None] = {}
    with (data / "robust.csv").open(newline="", encoding="utf-8") as table:
        for row in csv.DictReader(table):
            if row["file"] == "valueerror/png_decompression_dos.png":
                sizes[row["file"]] = (1, 1)  # its text is never decompressed
                continue
            if row["pillow_error"]:
                sizes[row["file"]] = None
                continue
            height, width = int(row["height"]), int(row["width"])
            turned = row["exif_orientation"] in {"5", "6", "7", "8"}
            sizes[row["file"]] = (width, height) if turned else (height, width)
    assert len(sizes) == 84
    return OddFiles(data / "robust", sizes)


def drawn(folder: Path) -> OddFiles:
    """Written into the folder, which is made."""
    files = {**_modes(), **_turned(), **_frames_and_shapes(), **_broken()}
    for name, (content, _) in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return OddFiles(folder, {name: size for name, (_, size) in files.items()})


def encoded(image: Image.Image, image_format: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG's header and the beginning of no pixels."""
    size = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", b"")


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content).to_bytes(4)
    return len(content).to_bytes(4) + kind + content + checksum


Files = dict[str, tuple[bytes, tuple[int, int] | None]]


def _noise(width: int = 40, height: int = 30) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def _modes() -> Files:
    modes = {
        "1.png": "1", "l.jpg": "L", "la.png": "LA", "p.gif": "P", "rgba.webp": "RGBA",
        "cmyk.jpg": "CMYK", "cmyk.tif": "CMYK", "float.tiff": "F", "ycbcr.tiff": "YCbCr",
        "rgb.bmp": "RGB", "rgb.ppm": "RGB",
    }  # fmt: skip
    suffixes = Image.registered_extensions()
    files: Files = {}
    for name, mode in modes.items():
        image = _noise().convert(mode)
        files[f"mode/{name}"] = encoded(image, suffixes[f".{name.split('.')[1]}"]), (30, 40)
    deep = Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50)
    files["mode/16 bits.png"] = encoded(deep, "PNG"), (30, 40)
    clear = encoded(_noise().convert("P"), "PNG", transparency=bytes(range(256)))
    files["mode/clear palette.png"] = clear, (30, 40)
    return files


def _turned() -> Files:
    files: Files = {}
    for orientation in range(10):  # 0 and 9 have no meaning
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        size = (40, 30) if 5 <= orientation <= 8 else (30, 40)
        files[f"exif/{orientation}.jpg"] = encoded(_noise(), "JPEG", exif=exif), size
        files[f"exif/{orientation}.png"] = encoded(_noise(), "PNG", exif=exif), size
    return files


def _frames_and_shapes() -> Files:
    files: Files = {
        "wrong suffix.jpg": (encoded(_noise(), "PNG"), (30, 40)),
        "LOUD.JPEG": (encoded(_noise(), "JPEG", progressive=True), (30, 40)),
        "käse (1).png": (encoded(_noise(), "PNG"), (30, 40)),
        "one.png": (encoded(_noise(1, 1), "PNG"), (1, 1)),
        "wide.jpg": (encoded(_noise(9000, 2), "JPEG"), (2, 9000)),
        "tall.gif": (encoded(_noise(1, 9000), "GIF"), (9000, 1)),
    }
    for image_format in ("GIF", "WEBP", "TIFF", "PNG"):
        frames = encoded(_noise(), image_format, save_all=True, append_images=[_noise(40, 30)] * 2)
        files[f"frames/{image_format}.{image_format.lower()}"] = frames, (30, 40)
    return files


def _broken() -> Files:
    contents = {
        "empty.png": b"",
        "page.jpg": b"<!DOCTYPE html><html>",
        "nonsense.bin": bytes(range(256)),
        "nonsense.tiff": bytes(range(256)),
        "bomb.png": png_of(65536, 65536),
        "no pixels.ppm": b"P6 0 4 255\n",
        "drawing.png": encoded(_noise(), "EPS"),
    }
    for image_format in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        whole = encoded(_noise(), image_format)
        contents[f"cut.{image_format.lower()}"] = whole[: len(whole) * 3 // 4]
    return {f"broken/{name}": (content, None) for name, content in contents.items()}
