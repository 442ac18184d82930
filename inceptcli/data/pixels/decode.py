"""Decode image files to RGB pixels, or raise an error with a one-line reason."""

from __future__ import annotations

import logging
import math
import re
import stat
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from inceptcli.data.pixels.image_formats import (
    FORMATS,
    PLUGINS,
    START_BYTES,
    UNKNOWN,
    format_in,
    load_plugin,
    silence_libtiff,
    why_unidentified,
    without_metadata,
)
from inceptcli.errors import UserError
from inceptcli.files.remote.address import Address
from inceptcli.text import printable

MAXIMUM_PIXELS = 178_956_970
"""Pillow's default limit against decompression bombs: 512 MiB of RGB."""

MAXIMUM_FILE_BYTES = 512 * 1024**2
"""Size of MAXIMUM_PIXELS uncompressed; some formats are read whole before they are parsed."""

STRIP_PIXELS = 2**20
"""Pixels that are converted at a time; each takes about 30 bytes."""

_JPEG, _EXIF_SEGMENT, _SCAN = b"\xff\xd8\xff", 0xE1, 0xDA
"""First bytes of a JPEG, and its markers of EXIF and of the pixels."""

_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transpositions that make a stored image upright, by EXIF orientation."""

# An entry of `warnings.filters`. `warnings.catch_warnings` is not thread-safe.
_IGNORE_PILLOW = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
_filters_lock = threading.Lock()


class UnreadableImage(UserError):  # noqa: N818 - it names the image, not an error of the program
    """A file is missing, not an image, damaged or too large; the message is only the reason."""


class _Room:
    """Limits the pixels that threads decode at the same time to those of the largest image."""

    def __init__(self, pixels: int) -> None:
        self.free = pixels
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self.free >= pixels)
            self.free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self.free += pixels
                self._changed.notify_all()


class _SharedRoom:
    """Limits several processes: only one at a time decodes an image that is not small."""

    def __init__(self, small: int, lock: AbstractContextManager[object]) -> None:
        self._small, self._lock = small, lock

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        with nullcontext() if pixels <= self._small else self._lock:
            yield


_ROOM: _Room | _SharedRoom = _Room(MAXIMUM_PIXELS)


def share_room(processes: int, lock: AbstractContextManager[object]) -> None:
    """Limit the pixels that several processes decode at the same time to two images' maximum.

    Call it with the shared `lock` in each process, which must decode in a single thread.
    """
    global _ROOM
    _ROOM = _SharedRoom(MAXIMUM_PIXELS // processes, lock)


Content = bytes | Image.Image | NDArray[np.uint8]
"""An image in memory: a file's bytes, a Pillow image, or RGB pixels (H, W, 3)."""


def decode(source: Path | Content, shorter_side: int | None = None) -> NDArray[np.uint8]:
    """Decode an image file, or an image in memory, to upright RGB pixels: (H, W, 3), uint8.

    Reads AVIF, BMP, GIF, JPEG, JPEG 2000, PNG, PPM, TIFF and WebP, and with extras HEIC and JPEG
    XL, regardless of the suffix. Only the first frame is read. Applies the EXIF orientation or the
    format's own, but no color profile. Transparent images are composited over white.

    Gray of more than 8 bits is scaled to 0-255: integers from 0-65535 (0-4095 in a 12-bit TIFF),
    floats from 0-1 or 0-255, and values beyond that from their own minimum and maximum; NaN becomes
    black. Thread-safe.

    Args:
        source: Path, file content, Pillow image or RGB array.
        shorter_side: If given, at least 1. A plain color JPEG is then decoded at a half, a quarter
            or an eighth of its size, the smallest that keeps this many pixels on the shorter side.
            Other images are not affected.

    Raises:
        UnreadableImage: the file is missing, not an image, damaged, truncated or over a limit.
    """
    _silence_pillow()
    try:
        if isinstance(source, np.ndarray):
            return _checked(source)
        if isinstance(source, Image.Image):
            return _loaded(source, None)
        if isinstance(source, bytes):
            _check_bytes(len(source))
            return _pixels(BytesIO(source), shorter_side)
        status = source.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImage("is a folder" if source.is_dir() else "not a regular file")
        _check_bytes(status.st_size)
        with source.open("rb") as file:
            return _pixels(file, shorter_side)
    except UnreadableImage:
        raise
    # Pillow documents no list; it raises OSError, SyntaxError, ValueError, struct.error and more.
    except Exception as error:
        raise UnreadableImage(_reason(error)) from error


def decode_remote(address: Address, shorter_side: int | None = None) -> NDArray[np.uint8]:
    """Fetch an image file and decode it; see `decode`.

    Raises:
        UnreadableImage: the file cannot be fetched or decoded.
        UserError: no local copy can be written.
    """
    from inceptcli.files.remote.copies import local_copy
    from inceptcli.files.remote.transport import FetchError

    try:
        path = local_copy(address, MAXIMUM_FILE_BYTES)
    except FetchError as error:
        raise UnreadableImage(f"cannot be fetched: {error}") from error
    return decode(path, shorter_side)


def image_format_of(source: Path | bytes) -> str | None:
    """Return the format, a key of SUFFIXES_OF, by content; None if it is not an image."""
    _silence_pillow()
    try:
        if isinstance(source, Path) and not source.is_file():
            return None
        opened = BytesIO(source) if isinstance(source, bytes) else source.open("rb")
        with opened as file, _opened(file, file.read(START_BYTES)) as image:
            return "JPEG" if image.format == "MPO" else image.format  # MPO: several JPEGs
    except Exception:  # as in `decode`
        return None


def _silence_pillow() -> None:
    """Ignore Pillow's warnings; called each time, since leaving a `catch_warnings` resets it."""
    with _filters_lock:
        if _IGNORE_PILLOW not in warnings.filters:
            warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)


def _check_bytes(size: int) -> None:
    if size == 0:
        raise UnreadableImage("empty file")
    if size > MAXIMUM_FILE_BYTES:
        raise UnreadableImage(f"{size} bytes, over the limit of {MAXIMUM_FILE_BYTES}")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return UNKNOWN
    if isinstance(error, Image.DecompressionBombError):
        return f"{re.findall('[0-9]+', str(error))[0]} pixels, over the limit of {MAXIMUM_PIXELS}"
    if isinstance(error, MemoryError):
        return "not enough memory"
    message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(message) or type(error).__name__


def _pixels(file: BinaryIO, shorter_side: int | None) -> NDArray[np.uint8]:
    pixels = None
    start = file.read(START_BYTES)
    if start.startswith(_JPEG):
        jpeg = start + file.read()
        pixels = _plain_jpeg(jpeg, shorter_side)
        if pixels is not None and not _has_exif(jpeg):
            return pixels
        file = BytesIO(jpeg)
    try:
        return _by_pillow(file, start, pixels)
    except ValueError as error:
        if "MAX_TEXT" not in str(error) or format_in(start) != "PNG":
            raise
        file.seek(0)
        return _by_pillow(BytesIO(without_metadata(file.read())), start, None)


def _by_pillow(file: BinaryIO, start: bytes, pixels: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """Return a file's upright pixels; if a JPEG's `pixels` are given, only rotate them."""
    with _opened(file, start) as image:
        return _loaded(image, pixels)


def _loaded(image: Image.Image, pixels: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    if pixels is None:
        _check_pixels(image.width, image.height)
        with _ROOM.taken(image.width * image.height):
            image.load()
            pixels = _rgb(image)
    upright = _TRANSPOSITIONS.get(_orientation(image))
    return pixels if upright is None else np.array(Image.fromarray(pixels).transpose(upright))


def _checked(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the array; raise UnreadableImage if it is not RGB pixels or too large."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        remedy = ""
        if pixels.ndim == 3 and pixels.shape[0] == 3 != pixels.shape[2]:
            remedy = "; move the channels: array.transpose(1, 2, 0)"
        elif pixels.dtype != np.uint8:
            remedy = '; for values of 0 to 1: (255 * array).round().astype("uint8")'
        raise UnreadableImage(
            f"an array of shape {pixels.shape} and type {pixels.dtype}; RGB pixels are uint8 of "
            f"shape (H, W, 3){remedy}"
        )
    _check_pixels(pixels.shape[1], pixels.shape[0])
    return pixels


def _opened(file: BinaryIO, start: bytes) -> Image.Image:
    """Open a file that begins with `start`, without reading its pixels."""
    kind = format_in(start)
    added = [name for name in PLUGINS if name == kind]
    for plugin in added:
        load_plugin(plugin)
    if kind == "TIFF":
        silence_libtiff()
    file.seek(0)
    try:
        return Image.open(file, formats=(*FORMATS, *added))
    except UnidentifiedImageError as error:
        file.seek(0)
        if reason := why_unidentified(file, kind):
            raise UnreadableImage(reason) from error
        raise


def _check_pixels(width: int, height: int) -> None:
    if not width * height:
        raise UnreadableImage(f"{width}x{height} pixels, so there is nothing to see")
    if width * height > MAXIMUM_PIXELS:
        raise UnreadableImage(f"{width}x{height} pixels, over the limit of {MAXIMUM_PIXELS}")


def _plain_jpeg(jpeg: bytes, shorter_side: int | None) -> NDArray[np.uint8] | None:
    """Decode an undamaged color JPEG bit-identically to Pillow, but faster; None for all others.

    The result is smaller where `shorter_side` allows it.
    """
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(jpeg)
        _check_pixels(width, height)
        if colors not in ("YCbCr", "RGB"):
            return None
        least = 0 if shorter_side is None else _reduced(min(height, width), shorter_side)
        part = least / min(height, width) if least else 1.0
        with _ROOM.taken(int(width * height * part**2)):
            pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
                jpeg, min_height=least, min_width=least
            )
    except ValueError:  # Pillow tolerates slight damage, and gives the reason otherwise
        return None
    return pixels


def _has_exif(jpeg: bytes) -> bool:
    """Return whether an undamaged JPEG has an EXIF segment; saves Pillow's 50 us."""
    marker = 2
    while jpeg[marker] == 0xFF and jpeg[marker + 1] not in (0xFF, _EXIF_SEGMENT, _SCAN):
        marker += 2 + int.from_bytes(jpeg[marker + 2 : marker + 4], "big")
    return jpeg[marker + 1] != _SCAN


def _reduced(side: int, needed: int) -> int:
    """Return the smallest of `side` / 2, / 4 and / 8 that is at least `needed`; 0 if none.

    Scales such as 3/8 differ more from the full-size result, and most take longer.
    """
    factor = next((factor for factor in (8, 4, 2) if side >= factor * needed), None)
    return 0 if factor is None else math.ceil(side / factor)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of a loaded image; 1 if it is missing, ignored or unreadable.

    HEIC, AVIF and JPEG XL have their own orientation, which overrides EXIF's.
    """
    # libheif rotates the image, and pillow_heif drops EXIF's orientation; Pillow replaces it by
    # AVIF's own. JPEG XL is rotated by its decoder, except for an embedded JPEG file.
    if image.format == "JXL" and not getattr(image, "jpeg", False):
        return 1
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception as error:
        # A malformed eXIf chunk; Pillow also rejects a PNG with other malformed chunks.
        if image.format == "PNG" and isinstance(error, SyntaxError):
            raise
        return 1


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode == "F":
        return _gray(image, (1.0, 255.0))
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _gray(
            image, (4095.0 if _tag(image, ExifTags.Base.BitsPerSample) == (12,) else 65535.0,)
        )
    if not image.has_transparency_data or _is_unused(image):
        return _by_strips(image, lambda strip: strip.convert("RGB"))
    return _by_strips(image, _over_white)


def _tag(image: Image.Image, number: int) -> object:
    """Return the value of a TIFF's tag; None if there is none."""
    return getattr(image, "tag_v2", {}).get(number)


def _is_unused(image: Image.Image) -> bool:
    """Return whether the alpha channel of a 32-bit BMP is zero everywhere, as is common."""
    # A copy has no format, but what Pillow read: only for BMP, the compression as a number.
    return isinstance(image.info.get("compression"), int) and not any(
        strip.convert("RGBA").getchannel("A").getbbox() for _, strip in _strips(image)
    )


def _over_white(image: Image.Image) -> Image.Image:
    """Composite over white, as cut-outs and logos expect; hidden colors are arbitrary."""
    transparent = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(transparent, mask=transparent)
    return white


def _by_strips(
    image: Image.Image, convert: Callable[[Image.Image], Image.Image]
) -> NDArray[np.uint8]:
    """Return RGB pixels of `convert`, applied in strips to limit the memory of its copies."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top, strip in _strips(image):
        pixels[top : top + strip.height] = np.asarray(convert(strip))
    return pixels


def _gray(image: Image.Image, full_scales: tuple[float, ...]) -> NDArray[np.uint8]:
    """Return gray as RGB; white is the first full scale above all values, else their maximum.

    In a TIFF whose zero is white, that is black.
    """
    low, high = np.inf, -np.inf
    for _, values in _values(image):
        finite = np.isfinite(values)
        low = min(low, float(values.min(where=finite, initial=np.inf)))
        high = max(high, float(values.max(where=finite, initial=-np.inf)))
    if low >= 0 and high <= full_scales[-1]:
        low, high = 0.0, next(scale for scale in full_scales if high <= scale)
    factor = 255 / (high - low) if high > low else 0.0
    if _tag(image, ExifTags.Base.PhotometricInterpretation) == 0:  # Pillow inverts 8 bits only
        low, factor = high, -factor
    transparent = image.info.get("transparency")
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top, values in _values(image):
        levels = np.nan_to_num(values * factor - low * factor, nan=0.0, posinf=255.0, neginf=0.0)
        gray = np.rint(levels.clip(0, 255)).astype(np.uint8)
        if transparent is not None:
            gray[values == transparent] = 255
        pixels[top : top + len(gray)] = gray[:, :, None]
    return pixels


def _values(image: Image.Image) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield each strip's first row number and its values."""
    for top, strip in _strips(image):
        yield top, np.asarray(strip).astype(np.float32)


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield strips of a few rows, each with its first row number, to limit memory."""
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))
