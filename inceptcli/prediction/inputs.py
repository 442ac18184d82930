"""Find the images to predict: files, folders, patterns, addresses, paths from standard input."""

from __future__ import annotations

import codecs
import glob
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from inceptcli.data.folders import RUN_FILES, find_images
from inceptcli.data.left_out import LeftOut
from inceptcli.data.pixels.image_formats import SUFFIXES
from inceptcli.data.text_files import UTF_16, as_it_lies
from inceptcli.errors import UsageError, UserError
from inceptcli.files.remote.address import Address, parse, redacted, scheme_of

if TYPE_CHECKING:
    from inceptcli.data.pixels.decode import Content
    from inceptcli.data.shards.source import TarImage

CHUNK_BYTES = 65536
LONGEST_PATH = 65536


class Source(NamedTuple):
    """An image: its path as shown in the answer, and why it cannot be read, if so.

    `in_tar` locates an image in a tar file, `content` holds one in memory, `address` a remote one.
    """

    path: str
    problem: str | None = None
    in_tar: TarImage | None = None
    content: Content | None = None
    address: Address | None = None


class ByteStream(Protocol):
    """Unbuffered standard input: `read` returns the bytes available, and none at the end."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes."""


class Utf8:
    """A list of paths without its byte order mark; UTF-16 is converted to UTF-8."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._decoder: codecs.IncrementalDecoder | None = None
        self._begun = False

    def read(self, size: int, /) -> bytes:
        """Read as from the stream."""
        chunk = self._stream.read(size)
        if not self._begun:
            self._begun = True
            while 0 < len(chunk) < len(codecs.BOM_UTF8) and (more := self._stream.read(size)):
                chunk += more
            if chunk.startswith(UTF_16):
                self._decoder = codecs.getincrementaldecoder("utf-16")("replace")
            chunk = chunk.removeprefix(codecs.BOM_UTF8)
        while self._decoder and chunk:
            if text := self._decoder.decode(chunk):
                return text.encode(errors="surrogatepass")
            chunk = self._stream.read(size)
        return chunk


def is_image_file(path: str) -> bool:
    """Whether a path names one image, judged by its name: no folder, pattern or tar shard."""
    if scheme_of(path) and not os.path.lexists(path):
        return Path(path).suffix.lower() in SUFFIXES and not glob.has_magic(path)
    return os.path.isfile(path) and not path.endswith(".tar")  # noqa: PTH113 (never raises)


def standard_input() -> ByteStream:
    """Return unbuffered standard input: a thread may wait for it when the program ends."""
    if sys.stdin is None:  # it was closed before the program began
        return BytesIO()
    buffered = sys.stdin.buffer
    return getattr(buffered, "raw", buffered)


def find_sources(
    arguments: Sequence[str], stream: ByteStream, left_out: LeftOut | None = None, *, null: bool
) -> Iterator[Source]:
    """Yield the images that the arguments name, in order; each is searched only when needed.

    A folder stands for all images in it and below, sorted, or, if it has none, for the tar shards
    in it. A .tar file stands for its images, in its order. A pattern such as "photos/*.jpg" stands
    for its matches, sorted, unless a file has this very name. "-" stands for the paths in `stream`;
    each of these is a file or .tar file, neither folders nor patterns are expanded. All may be
    addresses (https, s3, gs, hf), whose files are downloaded when they are read; https supports
    neither folders nor patterns.

    Args:
        arguments: Arguments as given; names that are not UTF-8 have their bytes as surrogates.
        stream: Input for "-".
        left_out: Counts files in folders and tar files that are not images.
        null: Whether paths in `stream` end with a NUL character instead of a newline.

    Raises UsageError at once for a run directory and an address with an unsupported scheme.
    """
    for path in arguments:
        if sum(os.path.isfile(f"{path}/{name}") for name in RUN_FILES) > 1:  # noqa: PTH113
            raise UsageError(f"{path}: is a run directory, not images; give --weights {path}")
    addresses = {text: parse(text) for text in arguments if _is_remote(text)}
    return _sources(arguments, addresses, stream, LeftOut() if left_out is None else left_out, null)


def _is_remote(path: str) -> bool:
    return scheme_of(path) is not None and ("://" in path or not os.path.lexists(path))


def _sources(
    arguments: Sequence[str],
    addresses: Mapping[str, Address],
    stream: ByteStream,
    left_out: LeftOut,
    null: bool,
) -> Iterator[Source]:
    for argument in arguments:
        if argument in addresses:
            yield from _at_address(addresses[argument], left_out)
        elif argument == "-":
            yield from _listed(stream, left_out, null=null)
        elif glob.has_magic(argument) and not os.path.lexists(argument):
            # Path.glob refuses absolute patterns.
            matches = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207
            if not matches:
                yield Source(argument, "no file matches this pattern")
            for match in matches:
                yield from _file_or_folder(match, left_out)
        else:
            yield from _file_or_folder(argument, left_out)


def _file_or_folder(path: str, left_out: LeftOut) -> Iterator[Source]:
    if not os.path.isdir(path):  # noqa: PTH112 (Path raises if a folder is not readable)
        if path.endswith(".tar"):
            yield from _in_shard(Path(path), left_out)
        else:
            yield Source(path)
        return
    from inceptcli.data.shards.files import BesideShards, find_shards, means_shards

    passed_over = LeftOut()
    try:
        images = find_images(Path(path), passed_over)
        shards = [] if images or not means_shards(path) else find_shards(path)
        if shards:
            find_images(Path(path), passed_over := BesideShards())
    except UserError as error:
        yield Source(path, str(error))
        return
    if not images and not shards:
        yield Source(
            path, f"no images in this folder; known suffixes: {' '.join(sorted(SUFFIXES))}"
        )
    left_out.update(passed_over)
    yield from map(Source, images.texts())
    for shard in shards:
        yield from _in_shard(shard, left_out)


def _at_address(address: Address, left_out: LeftOut) -> Iterator[Source]:
    """Yield the images at an address; list a folder or a pattern."""
    from inceptcli.files.remote.object_store import files_at
    from inceptcli.files.remote.transport import FetchError

    try:
        found = files_at(address)
    except FetchError as error:
        yield Source(str(address), str(error))
        return
    if found == [address]:
        yield from _fetched(address, left_out)
        return
    if not address.is_pattern:
        found = _in_remote_folder(address, found, left_out)
    if not found:
        kind = "file matches this pattern" if address.is_pattern else "images in this folder"
        yield Source(str(address), f"no {kind}")
    for entry in found:
        yield from _fetched(entry, left_out)


def _in_remote_folder(
    address: Address, found: Sequence[Address], left_out: LeftOut
) -> list[Address]:
    """Return the images of a remote folder or, if it has none, its tar shards; count others."""
    from inceptcli.data.shards.files import BesideShards

    folder = f"{address.text.rstrip('/')}/"
    seen = [entry for entry in found if not left_out.passes_over(entry.text.removeprefix(folder))]
    images = [entry for entry in seen if Path(entry.name).suffix.lower() in SUFFIXES]
    shards = [] if images else [entry for entry in seen if entry.name.endswith(".tar")]
    others, read = BesideShards() if shards else LeftOut(), {*images, *shards}
    for entry in seen:
        if entry not in read:
            others.add_file(entry.name)
    left_out.update(others)
    return images or shards


def _fetched(address: Address, left_out: LeftOut) -> Iterator[Source]:
    """Yield the image at an address, downloaded when it is read, or the images of a tar file."""
    if not address.name.endswith(".tar"):
        yield Source(str(address), address=address)
        return
    from inceptcli.data.shards.fetching import fetch_shards

    try:
        (shard,) = fetch_shards([address.text])
    except UserError as error:
        yield Source(str(address), str(error).removeprefix(f"{address}: "))
        return
    for image in _in_shard(shard, left_out):
        yield image._replace(path=f"{address}{image.path.removeprefix(str(shard))}")


def _in_shard(shard: Path, left_out: LeftOut) -> Iterator[Source]:
    from inceptcli.data.shards.source import images_in

    if not os.access(shard, os.R_OK):
        yield Source(str(shard))  # reading it gives the reason, as of other files
        return
    for image in images_in(shard, left_out):
        yield Source(image.name, image.problem, image)


def _listed(stream: ByteStream, left_out: LeftOut, *, null: bool) -> Iterator[Source]:
    for entry in _separated(stream if null else Utf8(stream), b"\0" if null else b"\n"):
        path = os.fsdecode(entry if null else entry.removesuffix(b"\r"))
        if _is_remote(path):
            yield from _listed_address(path, left_out)
            continue
        path = path if null else as_it_lies("", path)
        if "\0" in path:
            yield Source(path, "contains a NUL character; use --null for NUL-separated paths")
        elif path.endswith(".tar"):
            yield from _in_shard(Path(path), left_out)
        elif path:
            yield Source(path)


def _listed_address(text: str, left_out: LeftOut) -> Iterator[Source]:
    try:
        address = parse(text)
    except UsageError as error:
        shown = redacted(text)
        yield Source(shown, str(error).removeprefix(f"{shown}: "))
        return
    yield from _fetched(address, left_out)


def _separated(stream: ByteStream, separator: bytes) -> Iterator[bytes]:
    rest = b""
    while chunk := stream.read(CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(separator)
        yield from whole
        if len(rest) > LONGEST_PATH:
            raise UserError(
                f"standard input: a path of over {LONGEST_PATH} bytes; give one path per line or, "
                "with --null, end each with a NUL character"
            )
    yield rest
