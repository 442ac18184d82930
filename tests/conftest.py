"""Two test processes share the cores: one thread each, or they wait for one another."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.pages.browser import Page

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def page() -> Iterator["Page"]:
    """A browser; it starts when the first test asks for it."""
    from tests.pages.browser import browser

    with browser() as page:
        yield page
