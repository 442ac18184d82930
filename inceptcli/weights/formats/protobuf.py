"""Minimal reader and writer of the Protocol Buffers wire format.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap
from typing import NamedTuple

VARINT, FIXED_64, LENGTH_DELIMITED, FIXED_32 = 0, 1, 2, 5
"""Wire types."""

MOST_FIELDS = 200_000
"""Limit per message; our largest networks have 10,000."""

MessageBytes = bytes | mmap


class Field(NamedTuple):
    """A field: its number, the offset of its tag, and the start and end of its value."""

    number: int
    begin: int
    start: int
    end: int


def fields(data: MessageBytes, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message in `data[start:end]`.

    Raises ValueError if a field is invalid or exceeds the message, or for more than MOST_FIELDS.
    """
    place, left = start, MOST_FIELDS
    while place < end:
        begin = place
        tag, place = varint(data, place, end)
        number, kind = divmod(tag, 8)
        left -= 1
        if not number or not left:  # a file of zeros would be fields with number 0
            raise ValueError("no field has the number 0" if left else "too many fields")
        value = place
        if kind == VARINT:
            _, place = varint(data, place, end)
        elif kind == LENGTH_DELIMITED:
            length, value = varint(data, place, end)
            place = value + length
        elif kind in (FIXED_32, FIXED_64):
            place += 4 if kind == FIXED_32 else 8
        else:
            raise ValueError(f"unknown wire type {kind}")
        if place > end:
            raise ValueError(f"a field ends {place - end} bytes after its message")
        yield Field(number, begin, value, place)


def varint(data: MessageBytes, place: int, end: int) -> tuple[int, int]:
    """Read the number at `place`; return it and the offset after it.

    Each of up to ten bytes has seven bits, lowest first; the eighth bit of the last byte is 0.

    Raises ValueError if the number does not end before `end`.
    """
    value = 0
    for shift, at in enumerate(range(place, min(end, place + 10))):
        byte = data[at]
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return value, at + 1
    raise ValueError("a number does not end")


def text_field(number: int, value: bytes) -> bytes:
    """Encode a field with text, bytes or a message."""
    return _encoded(number << 3 | LENGTH_DELIMITED) + _encoded(len(value)) + value


def whole_number_field(number: int, value: int) -> bytes:
    """Encode a field with an integer of at least 0."""
    return _encoded(number << 3 | VARINT) + _encoded(value)


def _encoded(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
