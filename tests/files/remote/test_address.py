"""Which addresses are read, and how they are shown."""

from __future__ import annotations

import pytest

from inceptcli.errors import UsageError
from inceptcli.files.remote import address as module
from inceptcli.files.remote.address import joined, parse, redacted, scheme_of


@pytest.mark.parametrize(
    ("text", "name", "folder"),
    [
        ("https://host/a/cat.jpg?w=200", "cat.jpg", "https://host/a/"),
        ("HTTPS://host:8443/cat photo é.jpg", "cat photo é.jpg", "https://host:8443/"),
        ("s3://bucket/photos/cat.jpg", "cat.jpg", "s3://bucket/photos/"),
        ("gs://bucket/photos/", "", "gs://bucket/photos/"),
        ("hf://datasets/owner/name@v1/a/cat.jpg", "cat.jpg", "hf://datasets/owner/name@v1/a/"),
    ],
)
def test_an_address_has_a_name_and_a_folder(text: str, name: str, folder: str) -> None:
    address = parse(text)
    assert (address.name, address.folder) == (name, folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pipe:cat /etc/passwd", "pipe: is not supported, and no command is run; .* https://, s3://"),
        ("file:///etc/passwd", "file: is not supported"),
        ("file:/etc/passwd", "file: is not supported"),
        ("http://host/cat.jpg", "http: is not supported"),
        ("ssh://host/cat.jpg", "ssh: is not supported"),
        ("memory://cat.jpg", "memory: is not supported"),
        ("simplecache::s3://bucket/cat.jpg", "a chain of addresses is not supported"),
        ("s3://bucket/cat.zip::https://host/a", "a chain of addresses is not supported"),
        ("zip://cat.jpg::s3://bucket/a.zip", "a chain of addresses is not supported"),
        ("https://host/cat\n.jpg", r"cat\\n\.jpg: .* no control characters"),
        ("https://host/\x1b[2J.jpg", r"\\x1b\[2J"),
        ("https://host/" + "x" * 5000, "at most 4096 characters"),
        ("s3://bucket/../x", "an empty path part"),
        ("https://host/a/%2e%2e/x.jpg", "an empty path part"),
        ("gs://bucket//x.jpg", "an empty path part"),
        ("https://user:hunter2@host/cat.jpg", r"^https://\.\.\.@host/cat\.jpg: must not contain"),
        ("https:///cat.jpg", "must be like https://host/cat.jpg"),
        ("https://host", "must be like"),
        ("s3://bucket", "must be like s3://bucket/cat.jpg"),
        ("hf://datasets/owner", "must be like hf://datasets/owner/name/cat.jpg"),
    ],
)  # fmt: skip
def test_what_is_not_read_is_named_in_one_line(text: str, said: str) -> None:
    assert scheme_of(text)
    with pytest.raises(UsageError, match=said) as caught:
        parse(text)
    assert str(caught.value).isprintable()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("path", ["a.jpg", "/a/b.jpg", "C:\\a.jpg", "a:b.jpg", "./s3://x", "~/a"])
def test_other_text_is_a_local_path(path: str) -> None:
    assert scheme_of(path) is None


@pytest.mark.parametrize(("scheme", "library"), [("s3", "s3fs"), ("gs", "gcsfs")])
def test_a_library_that_is_not_installed_is_an_extra(
    scheme: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=rf"needs {library}; pip install 'inceptcli\[{scheme}\]'"):
        parse(f"{scheme}://bucket/cat.jpg")


def test_secrets_are_not_shown() -> None:
    signed = "https://host/cat.jpg?w=200&X-Amz-Signature=abc&AWSAccessKeyId=me&x=" + "q" * 40
    assert redacted(signed) == (
        "https://host/cat.jpg?w=200&X-Amz-Signature=...&AWSAccessKeyId=...&x=..."
    )
    assert str(parse(signed)) == redacted(signed)
    assert redacted("s3://bucket/cat?.jpg") == "s3://bucket/cat?.jpg"
    assert redacted("photos/what?.jpg") == "photos/what?.jpg"


def test_a_list_names_files_beside_it_or_addresses() -> None:
    folder = parse("https://host/set/labels.csv").folder
    assert joined(folder, "a/cat.jpg").text == "https://host/set/a/cat.jpg"
    assert joined(folder, "a\\cat.jpg").text == "https://host/set/a/cat.jpg"
    assert joined(folder, "s3://bucket/cat.jpg").text == "s3://bucket/cat.jpg"
    for local in ("/etc/passwd", "C:\\cat.jpg", "\\etc\\passwd"):
        with pytest.raises(UsageError, match="cannot name a local file"):
            joined(folder, local)
    for other in ("file:///etc/passwd", "../x.jpg", "pipe:ls"):
        with pytest.raises(UsageError, match=r"not supported|path part"):
            joined(folder, other)
