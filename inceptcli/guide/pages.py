"""Find the pages of this folder and the sections in them."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Names of all pages, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.md"))


def text(name: str) -> str:
    """Markdown of the page `name`, which must exist."""
    return (FOLDER / f"{name}.md").read_text("utf-8")


def title(name: str) -> str:
    """First heading of the page `name`."""
    return headings(name)[0]


def headings(name: str) -> list[str]:
    """Headings of the page `name`, outside code blocks."""
    prose = re.sub(r"^```.*?^```$", "", text(name), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"^#+ (.*)$", prose, re.MULTILINE)


def suggestions(topic: str) -> list[str]:
    """Pages with a name like `topic`, then pages with `topic` in a heading; at most three."""
    similar = get_close_matches(topic.lower(), names())
    mentioning = [name for name in names() if topic.lower() in " ".join(headings(name)).lower()]
    return list(dict.fromkeys([*similar, *mentioning]))[:3]
