"""Recognize image formats by suffix and first bytes, including formats that are not read."""

from __future__ import annotations

import ctypes
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import BinaryIO

from PIL import TiffImagePlugin

# A closed list: Pillow would also open many more formats, and pass PostScript to Ghostscript.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")

PLUGINS = {
    "HEIF": ("pillow_heif", "HEIC", "heic"),
    "JXL": ("pillow_jxl", "JPEG XL", "jxl"),
}
"""Formats read with an optional package, by Pillow's name: package, common name, our extra."""

SUFFIXES_OF = {
    "AVIF": {".avif", ".avifs"},
    "BMP": {".bmp"},
    "GIF": {".gif"},
    "HEIF": {".heic", ".heif", ".hif"},
    "JPEG": {".jfif", ".jpe", ".jpeg", ".jpg"},
    "JPEG2000": {".j2c", ".j2k", ".jp2", ".jpc", ".jpf", ".jpx"},
    "JXL": {".jxl"},
    "PNG": {".png"},
    "PPM": {".pbm", ".pgm", ".pnm", ".ppm"},
    "TIFF": {".tif", ".tiff"},
    "WEBP": {".webp"},
}

SUFFIXES = frozenset().union(*SUFFIXES_OF.values())
"""Suffixes by which `find_images` recognizes images; `decode` looks only at the bytes."""

START_BYTES = 256
"""Number of first bytes needed to recognize a format."""

_STARTS = (
    ("JPEG", rb"\xff\xd8\xff"),
    ("PNG", rb"\x89PNG\r\n\x1a\n"),
    ("GIF", rb"GIF8[79]a"),
    ("BMP", rb"BM.{4}\0{4}"),
    ("PPM", rb"P[1-6]\s"),
    ("WEBP", rb"RIFF.{4}WEBP"),
    ("TIFF", rb"II[*+]\0|MM\0[*+]"),
    ("AVIF", rb".{4}ftyp(avi[fs]|(mif1|msf1).{4}(.{4})*?avi[fs])"),
    ("HEIF", rb".{4}ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)"),
    ("JXL", rb"\xff\x0a|\0\0\0\x0cJXL "),
    ("JPEG2000", rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
)
"""First bytes of supported formats."""

_OTHERS = (
    ("a Photoshop document", rb"8BPS"),
    ("a PDF document", rb"%PDF"),
    ("PostScript", rb"%!PS|\xc5\xd0\xd3\xc6"),
    ("an SVG drawing", rb"\s*(<\?xml.*?)?(<!--.*?-->|<!DOCTYPE svg.*?>|\s)*<svg"),
    ("an HTML page, perhaps from a failed download", rb"\s*(<!doctype html|<html|<head|<body)"),
    ("XML", rb"\s*<\?xml"),
    ("a Windows icon", rb"\0\0[\x01\x02]\0"),
    ("an OpenEXR image", rb"v/1\x01"),
    ("a Radiance HDR image", rb"#\?RADIANCE|#\?RGBE"),
    ("a DirectDraw surface", rb"DDS "),
    ("a QOI image", rb"qoif"),
    ("a Canon raw photograph", rb".{4}ftypcrx "),
    ("a Fujifilm raw photograph", rb"FUJIFILM"),
    ("a video", rb".{4}ftyp|\x1aE\xdf\xa3|RIFF.{4}AVI "),
    ("a DICOM image", rb".{128}DICM"),
    ("a FITS image", rb"SIMPLE  ="),
    ("a NumPy array", rb"\x93NUMPY"),
    ("an HDF5 file", rb"\x89HDF"),
    ("a zip archive", rb"PK\x03\x04"),
    ("a gzip archive", rb"\x1f\x8b"),
    ("a Git LFS pointer to a file that was not fetched", rb"version https://git-lfs"),
)
"""First bytes of unsupported files that are common in image folders."""


UNKNOWN = f"not an image of a known format ({', '.join(FORMATS)})"


def format_in(start: bytes) -> str | None:
    """Return the format, a key of SUFFIXES_OF, that a file's first bytes show, or None."""
    return _named(_STARTS, start)


def has_suffix(name: str) -> bool:
    """Return whether a name ends in a suffix of letters and digits that indicates a file type.

    IMG_0001, photo.jpg_large, photo.jpg?w=200 and 2024.05.01 do not.
    """
    return re.fullmatch(r"\.(?=.*[a-z])[a-z0-9]{1,10}", PurePath(name).suffix.lower()) is not None


def load_plugin(kind: str) -> None:
    """Register a format of PLUGINS with Pillow; raise ImportError naming the missing extra."""
    package, name, extra = PLUGINS[kind]
    if find_spec(package) is None:
        raise ImportError(f"{name}, which needs {package}; pip install 'inceptcli[{extra}]'")
    _register(kind)


@cache
def _register(kind: str) -> None:
    if kind == "HEIF":
        from pillow_heif import register_heif_opener

        register_heif_opener(thumbnails=False)
    else:
        import pillow_jxl  # noqa: F401 - registers itself


@cache
def silence_libtiff() -> None:
    """Stop libtiff from writing to standard error; Pillow raises the errors that matter.

    Does nothing if libtiff is not found among the loaded libraries.
    """
    try:
        loaded = Path("/proc/self/maps").read_text()
        libraries = set(re.findall(r"/\S*libtiff\S*", loaded))
        for library in libraries:
            tiff = ctypes.CDLL(library)
            tiff.TIFFSetErrorHandler(None)
            tiff.TIFFSetWarningHandler(None)
    except (OSError, AttributeError):
        return


def why_unidentified(file: BinaryIO, kind: str | None) -> str | None:
    """Return why Pillow cannot identify a file, or None if unknown."""
    if kind == "TIFF":
        return _odd_bands(file)
    other = _named(_OTHERS, file.read(START_BYTES))
    return other and f"{UNKNOWN} but {other}"


def without_metadata(png: bytes) -> bytes:
    """Return a PNG without text chunks and color profile; keep small ones with an orientation."""
    kept, at = [png[:8]], 8
    while at + 8 <= len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        chunk = png[at : at + length + 12]
        says_turn = length < 2**16 and chunk[8:].startswith(
            (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
        )
        if chunk[4:8] not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP") or says_turn:
            kept.append(chunk)
        at += length + 12
    return b"".join(kept)


def _named(table: tuple[tuple[str, bytes], ...], start: bytes) -> str | None:
    return next(
        (name for name, pattern in table if re.match(pattern, start, re.DOTALL | re.IGNORECASE)),
        None,
    )


def _odd_bands(file: BinaryIO) -> str | None:
    """Return why Pillow cannot read the bands of a TIFF, or None if its directory is damaged."""
    try:
        directory = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
        file.seek(directory.next)
        directory.load(file)
        bands = int(directory.get(277, 1))
        bits = ", ".join(map(str, dict.fromkeys(directory.get(258, (1,)))))
    except Exception:  # a damaged directory, in as many ways as Pillow has errors
        return None
    return (
        f"a TIFF of {bands} band{'' if bands == 1 else 's'} of {bits} bits, which is not "
        "supported; it must be gray, RGB, RGBA or CMYK: 1, 3 or 4 bands"
    )
