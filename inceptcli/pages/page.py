"""Write self-contained HTML pages, with style, script, data and images inside."""

from __future__ import annotations

import hashlib
import os.path
from base64 import b64encode
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import PurePosixPath
from typing import TextIO

from inceptcli.text import printable


def common_folder(paths: Sequence[str], data: str | None = None) -> str:
    """Return the folder that paths on a page are relative to, with a final /; "" if there is none.

    It is the folder `data` if all `paths` are below it, else their last common folder.
    """
    if data is not None:
        given = f"{PurePosixPath(data)}/".removeprefix("./")
        if all(path.startswith(given) for path in paths):
            return given
    shared = os.path.commonprefix(paths)  # noqa: RUF071 - cut below
    return shared[: shared.rfind("/") + 1]


def write_page(
    stream: TextIO,
    template: str,
    styles: Sequence[str],
    scripts: Sequence[str],
    data: object,
    **values: object,
) -> None:
    """Render a template of this folder with `values`, and write the page in pieces.

    All text in `values` is escaped. A content security policy in the page forbids any request, and
    any script or style but the page's own.

    Args:
        stream: Where to write; UTF-8.
        template: File name of the template.
        styles: File names of style sheets, in order.
        scripts: File names of scripts, in order.
        data: JSON for the script, in the element `data`.
        values: Values for the template.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("inceptcli", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "decimal": decimal,
        "points": points,
        "printable": printable,
    }
    style, script = ("\n".join(map(_read, names)) for names in (styles, scripts))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_source(style)}; "
        f"script-src {_source(script)}; base-uri 'none'; form-action 'none'"
    )
    pieces = environment.get_template(template).generate(
        policy=policy,
        style=style,
        script=script,
        data=data,
        version=version("inceptcli"),
        **values,
    )
    stream.writelines(pieces)


def percent(fraction: float | None, digits: int = 2) -> str:
    """Format a fraction of 1 as 12.34%, None as a dash."""
    return "–" if fraction is None else f"{fraction:.{digits}%}"


def decimal(value: float | None) -> str:
    """Format a value with four decimals, None as a dash."""
    return "–" if value is None else f"{value:.4f}"


def points(difference: float) -> str:
    """Format a difference of two fractions in percentage points, as +12.34."""
    return f"{100 * difference:+.2f}"


def _read(name: str) -> str:
    return (files("inceptcli.pages") / name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    """Return the hash by which a content security policy allows an inline style or script."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
