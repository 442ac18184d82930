"""Which pictures are meant: files, folders, patterns, and paths that another program writes."""

from __future__ import annotations

import codecs
import glob
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from inceptcli.data.folders import find_images
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
    """An image: its path as the answer shows it, or the reason why there is none to read.

    An image in a tar file has its place there, one in memory its content, a remote one its address.
    """

    path: str
    problem: str | None = None
    in_tar: TarImage | None = None
    content: Content | None = None
    address: Address | None = None


class ByteStream(Protocol):
    """Standard input, unbuffered: `read` returns what is there, and nothing at the end."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes."""


class Utf8:
    """A list of paths without its byte order mark; one in UTF-16 as UTF-8."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._decoder: codecs.IncrementalDecoder | None = None
        self._begun = False

    def read(self, size: int, /) -> bytes:
        """As the stream's."""
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
    """Whether a path is one image, so far as its name says: no folder, pattern or tar shard."""
    if scheme_of(path) and not os.path.lexists(path):
        return Path(path).suffix.lower() in SUFFIXES and not glob.has_magic(path)
    return os.path.isfile(path) and not path.endswith(".tar")  # noqa: PTH113 (never raises)


def standard_input() -> ByteStream:
    """Standard input below its buffer: a thread may wait here while the program ends."""
    if sys.stdin is None:  # it was closed before the program began
        return BytesIO()
    buffered = sys.stdin.buffer
    return getattr(buffered, "raw", buffered)


def find_sources(
    arguments: Sequence[str], stream: ByteStream, left_out: LeftOut | None = None, *, null: bool
) -> Iterator[Source]:
    """The pictures that the arguments name, in their order, found only as they are needed.

    A folder stands for all images in it and below, sorted, or where there are none for the tar
    shards in it; a .tar file for the images in it, in its order; a pattern such as "photos/*.jpg",
    where no file has that very name, for what it matches, sorted; "-" for the paths in `stream`.
    Each of those is a file: neither a folder nor a pattern is expanded there. All may be addresses
    (https, s3, gs, hf), whose files are fetched when they are read; https has no folders and
    patterns.

    Args:
        arguments: as given; a name that is not UTF-8 has its bytes as surrogates.
        stream: where "-" reads.
        left_out: counts files in folders and tar files that are no images.
        null: whether paths in `stream` end with a NUL character instead of a line end.

    Raises UsageError at once for an argument that is an address which is not read.
    """
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
            yield from _listed(stream, null=null)
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
    if not os.path.isdir(path):  # noqa: PTH112 (Path raises where a folder is closed)
        if path.endswith(".tar"):
            yield from _in_shard(Path(path), left_out)
        else:
            yield Source(path)
        return
    from inceptcli.data.shards.files import find_shards, means_shards

    passed_over = LeftOut()
    try:
        images = find_images(Path(path), passed_over)
        shards = [] if images or not means_shards(path) else find_shards(path)
    except UserError as error:
        yield Source(path, str(error))
        return
    if not images and not shards:
        yield Source(
            path, f"no images in this folder; known suffixes: {' '.join(sorted(SUFFIXES))}"
        )
    if not shards:
        left_out.update(passed_over)
    for image in images:
        yield Source(str(image))
    for shard in shards:
        yield from _in_shard(shard, left_out)


def _at_address(address: Address, left_out: LeftOut) -> Iterator[Source]:
    """The images at an address; a folder or a pattern is listed."""
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
    folder = None if address.is_pattern else f"{address.text.rstrip('/')}/"
    images = [
        entry
        for entry in found
        if folder is None or _is_image_in(entry.text.removeprefix(folder), left_out)
    ]
    if not images:
        what = "no file matches this pattern" if folder is None else "no images in this folder"
        yield Source(str(address), what)
    for image in images:
        yield from _fetched(image, left_out)


def _is_image_in(name: str, left_out: LeftOut) -> bool:
    """Whether a file in a remote folder is an image by its name; `left_out` counts the others."""
    if left_out.passes_over(name):
        return False
    if Path(name).suffix.lower() in SUFFIXES:
        return True
    left_out.add_file(name)
    return False


def _fetched(address: Address, left_out: LeftOut) -> Iterator[Source]:
    """The image at an address, which is fetched when it is read, or those of a tar file."""
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

    for image in images_in(shard, left_out):
        yield Source(image.name, image.problem, image)


def _listed(stream: ByteStream, *, null: bool) -> Iterator[Source]:
    for entry in _separated(stream if null else Utf8(stream), b"\0" if null else b"\n"):
        path = os.fsdecode(entry if null else entry.removesuffix(b"\r"))
        if _is_remote(path):
            yield _listed_address(path)
            continue
        path = path if null else as_it_lies("", path)
        if "\0" in path:
            yield Source(path, "contains a NUL character; use --null for NUL-separated paths")
        elif path:
            yield Source(path)


def _listed_address(text: str) -> Source:
    try:
        address = parse(text)
    except UsageError as error:
        shown = redacted(text)
        return Source(shown, str(error).removeprefix(f"{shown}: "))
    return Source(str(address), address=address)


def _separated(stream: ByteStream, separator: bytes) -> Iterator[bytes]:
    rest = b""
    while chunk := stream.read(CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(separator)
        yield from whole
        if len(rest) > LONGEST_PATH:
            raise UserError(
                f"standard input: a path of over {LONGEST_PATH} bytes; give paths one per line, or "
                "with --null each with a NUL character behind it"
            )
    yield rest
