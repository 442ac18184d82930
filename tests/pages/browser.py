"""A page in headless Chromium: what it shows, says on its console and asks the network for."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

NARROW, WIDE = (400, 900), (1280, 900)


class Page:
    """An open page; a click is a real one, at the element's place."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver
        self.asked: list[str] = []

    def open(self, path: Path) -> None:
        """Show the file, and forget what earlier pages did."""
        self.driver.get("about:blank")
        for log in ("browser", "performance"):
            self._log(log)
        self.asked = []
        self.driver.get(path.as_uri())

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """Of every element that fits and is shown."""
        found = self.driver.find_elements(By.CSS_SELECTOR, selector)
        return [element.text for element in found if element.is_displayed()]

    def column(self, table: str, number: int) -> list[str]:
        """The text of the shown cells of a column, from 0."""
        script = """
            const rows = [...document.querySelector(arguments[0]).tBodies[0].rows];
            return rows.filter((row) => !row.hidden)
              .map((row) => row.cells[arguments[1]].innerText.trim());"""
        cells: list[str] = self.driver.execute_script(script, table, number)
        return cells

    def click(self, selector: str) -> None:
        element = self.one(selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()
        # Timers that it set, as a reset does, fire before this one.
        self.driver.execute_async_script("setTimeout(arguments[0])")

    def press(self, selector: str, *keys: str) -> None:
        element = self.one(selector)
        self.driver.execute_script("arguments[0].focus()", element)
        element.send_keys(*keys)

    def choose(self, selector: str, number: int) -> None:
        """An option of a list, from 0, by key."""
        self.press(selector, Keys.HOME, *[Keys.DOWN] * number)

    def run(self, script: str) -> Any:
        return self.driver.execute_script(script)

    def resize(self, width: int, height: int) -> None:
        """Of the window's inside; smaller than any window may be."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def colors(self, scheme: str) -> None:
        """What the reader prefers, light or dark."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def _log(self, name: str) -> list[dict[str, Any]]:
        """What came since it was asked for last."""
        entries: list[dict[str, Any]] = self.driver.get_log(name)  # type: ignore[no-untyped-call]
        return entries

    def check_quiet(self) -> None:
        """Nothing on the console, nothing asked of anything but the page itself."""
        said = self._log("browser")
        assert not said, said
        self.asked += [
            message["params"]["request"]["url"]
            for entry in self._log("performance")
            if (message := json.loads(entry["message"])["message"])["method"]
            == "Network.requestWillBeSent"
        ]
        assert self.asked, "the log has not even the page"
        others = [url for url in self.asked[1:] if not url.startswith("data:")]
        assert not others, others


@contextmanager
def browser() -> Iterator[Page]:
    """Chromium with a profile of its own; skips the test where it is not installed."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("chromium and chromium-driver are not installed")
    options = ChromeOptions()
    options.binary_location = program
    for flag in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu",
                 "host-resolver-rules=MAP * ~NOTFOUND", "hide-scrollbars"):  # fmt: skip
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Chromium leaves links behind
        service = ChromeService(driver, env={**os.environ, "TMPDIR": folder})
        chrome = Chrome(options, service)
        try:
            yield Page(chrome)
        finally:
            chrome.quit()


ENTER, SPACE = Keys.ENTER, Keys.SPACE
