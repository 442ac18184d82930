"""Safetensors files written by hand: any header before any bytes."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

Header = dict[str, Any]


def parts(path: Path) -> tuple[Header, bytes]:
    """A file's header, and the bytes of its tensors."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write(path: Path, header: Header | bytes, tensors: bytes) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + tensors)
    return path


def shifted(source: Path, path: Path, by: int) -> Path:
    """The same file whose tensors start at `by` after a multiple of 8."""
    header, tensors = parts(source)
    text = json.dumps(header).encode()
    return write(path, text + b" " * ((by - len(text)) % 8), tensors)
