"""Lists are read as whatever system saved them, and names are found as whatever system has them."""

from __future__ import annotations

import codecs
import io
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Literal
from unicodedata import normalize

from hypothesis import assume, given, settings
from hypothesis import strategies as some

from inceptcli.data.exclusion import exclude_from
from inceptcli.data.label_files import evaluation_images
from inceptcli.data.shards.files import class_list
from inceptcli.prediction.inputs import find_sources
from inceptcli.weights.foreign.declared import declared_classes as classes_to_import

Form = Literal["NFC", "NFD"]
FORMS: list[Form] = ["NFC", "NFD"]
ENCODINGS = {
    "utf-8": b"", "utf-8-sig": b"",
    "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE,
}  # fmt: skip

# What a file system of Windows can have, too; a list has no names that begin or end with a blank.
letters = some.characters(
    codec="utf-8", exclude_categories=["C", "Z"], exclude_characters='\\/:*?"<>|,'
)
words = some.one_of(
    some.sampled_from(["é", "ü", "Å", "ñandú", "한", "ệ", "cat", "a b", "日本", "Ω"]),
    some.text(letters, min_size=1, max_size=8),
)
places = some.lists(words, min_size=1, max_size=3).filter(lambda parts: parts[0][0] not in ".~#-")


def saved(text: str, encoding: str, line_end: str, form: Form) -> bytes:
    """A list as some editor on some system writes it."""
    content = normalize(form, text).replace("\n", line_end)
    return ENCODINGS[encoding] + content.encode(encoding)


def key(name: str) -> str:
    return normalize("NFC", name)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    some.lists(places, min_size=2, max_size=5, unique_by=lambda parts: key("/".join(parts))),
    some.sampled_from([*ENCODINGS]),
    some.sampled_from(["\n", "\r\n"]),
    some.sampled_from(["/", "\\"]),
    some.sampled_from(FORMS),
    some.sampled_from(FORMS),
)
def test_a_list_names_the_files_that_it_named_where_it_was_saved(
    drawn: list[list[str]], encoding: str, line_end: str, slash: str, here: Form, there: Form
) -> None:
    names = [normalize(here, f"{'/'.join(parts)}.png") for parts in drawn]
    folders = {key(str(place)) for name in names for place in PurePath(name).parents}
    assume(not folders & set(map(key, names)))
    with TemporaryDirectory() as folder:
        root = Path(folder)
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        lines = [name.replace("/", slash) for name in names]
        classes = [normalize(here, f"{place} ü") for place in "ab"]
        rows = [f"{line},{classes[number % 2]}" for number, line in enumerate(lines)]
        table = saved("\n".join(["path,label", *rows]), encoding, line_end, there)
        (root / "list.csv").write_bytes(table)
        labeled = evaluation_images(root / "list.csv", classes, classes).images
        assert labeled.paths == tuple(root / name for name in names)
        assert tuple(labeled.labels) == tuple(number % 2 for number in range(len(names)))
        (root / "out.txt").write_bytes(saved(f"{lines[0]}\n", encoding, line_end, there))
        assert exclude_from(labeled, root / "out.txt", {root}).images.paths == labeled.paths[1:]
        (root / "classes.txt").write_bytes(saved("\n".join(classes), encoding, line_end, there))
        assert tuple(map(key, class_list([root / "0.tar"]))) == tuple(map(key, classes))
        named = classes_to_import(root / "classes.txt")
        assert [entry.id for entry in named] == [*map(key, classes)]
        stream = io.BytesIO(
            saved("\n".join(f"{root}/{x}" for x in lines), encoding, line_end, there)
        )
        sources = find_sources(["-"], stream, null=False)
        assert [Path(source.path) for source in sources] == [root / name for name in names]
