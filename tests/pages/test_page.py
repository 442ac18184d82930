"""The policy in a page holds: the checks of other tests would see a request and a script."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from inceptcli import pages
from inceptcli.pages.page import percent
from inceptcli.prediction.outputs.gallery import Gallery
from tests.pages.browser import Page


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    file = tmp_path / "page.html"
    with file.open("w") as stream:
        Gallery().write(stream, ["a.safetensors"], 1)
    return file


def test_a_page_asks_for_nothing(page: Page, empty: Path) -> None:
    page.open(empty)
    assert page.texts("h1") == ["Gallery"]
    page.check_quiet()


@pytest.mark.parametrize(
    "forbidden",
    [
        "<img src='http://example.invalid/a.png'>",
        "<script>document.title = 'run'</script>",
        "<p style='color: red'>styled</p>",
        "<img src='data:,x' onerror=\"document.title = 'run'\">",
        "<link rel=stylesheet href='http://example.invalid/a.css'>",
    ],
)
def test_the_policy_stops_what_is_not_the_pages_own(
    page: Page, empty: Path, forbidden: str
) -> None:
    empty.write_text(empty.read_text().replace("<main id", f"{forbidden}<main id"))
    page.open(empty)
    assert page.texts("h1") == ["Gallery"]
    assert page.driver.title == "Gallery · inceptcli"
    with pytest.raises(AssertionError, match="Content Security Policy"):
        page.check_quiet()


def test_the_checks_would_see_a_request(page: Page, empty: Path) -> None:
    start, end = empty.read_text().split('<meta http-equiv="Content-Security-Policy"')
    loading = "<img src='http://example.invalid/a.png'>"
    empty.write_text(start + f"<meta {end}".replace("<main id", f"{loading}<main id"))
    page.open(empty)
    with pytest.raises(AssertionError):
        page.check_quiet()
    page.open(empty)
    page.driver.get_log("browser")  # type: ignore[no-untyped-call]
    with pytest.raises(AssertionError, match=r"example\.invalid"):
        page.check_quiet()


def test_percent_of_nothing_is_a_dash() -> None:
    assert (percent(None), percent(0.12345), percent(1, 0)) == ("–", "12.35%", "100%")


def test_labels_of_regions_lead_to_elements() -> None:
    templates = "\n".join(file.read_text() for file in Path(pages.__file__).parent.glob("*.html"))
    attributes = dict(re.findall(r'\b(aria-[a-z]+)="([^"]*)"', templates))
    assert attributes.keys() <= {
        "aria-describedby", "aria-hidden", "aria-label", "aria-labelledby", "aria-live",
    }  # fmt: skip
    named = re.findall(r'\baria-[a-z]+by="([^"]*)"', templates)
    ids = set(re.findall(r'\bid="([^"]*)"', templates))
    assert {name for names in named for name in names.split()} <= ids
    assert len(named) > 10
