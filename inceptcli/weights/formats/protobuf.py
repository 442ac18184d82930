"""The wire format of Protocol Buffers, as far as files here need it: finding fields, writing them.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap
from typing import NamedTuple

VARINT, FIXED_64, LENGTH_DELIMITED, FIXED_32 = 0, 1, 2, 5
"""Kinds of field."""

MOST_FIELDS = 200_000
"""Of one message; a network of ours has 10,000."""

MessageBytes = bytes | mmap


class Field(NamedTuple):
    """Where a field lies: its number, its first byte, and its value's first and last but one."""

    number: int
    begin: int
    start: int
    end: int


def fields(data: MessageBytes, start: int, end: int) -> Iterator[Field]:
    """Each field of the message that `data` has from `start` to `end`.

    Raises ValueError where there is none, it is longer than the message, or there are more than
    MOST_FIELDS.
    """
    place, left = start, MOST_FIELDS
    while place < end:
        begin = place
        tag, place = varint(data, place, end)
        number, kind = divmod(tag, 8)
        left -= 1
        if not number or not left:  # a file of zeros would be fields number 0
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
            raise ValueError(f"no field is of kind {kind}")
        if place > end:
            raise ValueError(f"a field ends {place - end} bytes after its message")
        yield Field(number, begin, value, place)


def varint(data: MessageBytes, place: int, end: int) -> tuple[int, int]:
    """The number at `place`, and the place after it; ValueError where it does not end before `end`.

    Seven bits in each of up to ten bytes, the lowest first; the last byte's eighth bit is 0.
    """
    value = 0
    for shift, at in enumerate(range(place, min(end, place + 10))):
        byte = data[at]
        value |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            return value, at + 1
    raise ValueError("a number without an end")


def text_field(number: int, value: bytes) -> bytes:
    """The field with this value: text, bytes or a message."""
    return _encoded(number << 3 | LENGTH_DELIMITED) + _encoded(len(value)) + value


def whole_number_field(number: int, value: int) -> bytes:
    """The field with this value, 0 or more."""
    return _encoded(number << 3 | VARINT) + _encoded(value)


def _encoded(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
