"""One HTML file that loads nothing: its style, script, data and pictures are inside."""

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
    """The folder that a page's paths are shown from, with / at its end; "" for the paths as given.

    It is the folder `data` where all `paths` lie below it, else the last one that they share.
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
    """The page that a template of this folder makes of `values`, piece by piece.

    Every text in `values` is shown as it is, never as markup. A policy in the page forbids the
    browser to fetch anything and to run or apply anything but the page's own script and style.

    Args:
        stream: where to write; UTF-8.
        template: its file's name.
        styles: names of style files, applied in this order.
        scripts: names of script files, which run in this order.
        data: what the script finds as JSON in the element `data`.
        values: what the template shows.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("inceptcli", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "printable": printable}
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
    """A fraction of 1 as 12.34%, None as a dash."""
    return "–" if fraction is None else f"{fraction:.{digits}%}"


def _read(name: str) -> str:
    return (files("inceptcli.pages") / name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    """How a content security policy names an inline style or script: by its hash."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
