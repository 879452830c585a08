"""Debian's Chromium for the tests: headless, with a fresh profile, gone afterwards."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

REQUIRED = "RECDROP_REQUIRE_BROWSER"
"""Environment variable that makes a missing browser a failure; `.ci/run` sets it."""

SECONDS = 40
"""The longest wait for anything on a page."""


def find_browser() -> tuple[str, str] | None:
    """Finds Chromium and its driver; selenium would otherwise download one."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


class Browser:
    """A window on web pages, with waits that are bounded and no sleeps."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Opens a page afresh, though it may differ from the current one behind the `#` only."""
        self.driver.get("about:blank")
        self.driver.get(url)

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        """Waits until a condition holds, and returns what it gave; fails with the page's text."""
        waiting = WebDriverWait(
            self.driver, SECONDS, 0.2, ignored_exceptions=[StaleElementReferenceException]
        )
        try:
            return waiting.until(lambda _: condition())
        except TimeoutException:
            raise AssertionError(
                f"no {what} at {self.driver.current_url} after {SECONDS} s:\n{self.text()[:3000]}"
            ) from None

    def text(self) -> str:
        """Returns the text of the page as it is seen."""
        return str(self.driver.find_element(By.TAG_NAME, "body").text)

    def wait_for_text(self, *texts: str) -> None:
        """Waits until the page shows all of these."""
        self.wait(lambda: all(text in self.text() for text in texts), f"text {texts}")

    def find(self, css: str) -> WebElement:
        """Waits for an element that has a size, brings it into view, and returns it."""

        def seen() -> WebElement | None:
            found = self.driver.find_elements(By.CSS_SELECTOR, css)
            return next((element for element in found if element.is_displayed()), None)

        element = self.wait(seen, css)
        # MLflow draws a chart when it comes into view.
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        return element

    def click(self, css: str) -> None:
        """Clicks an element, where the user would."""
        self.find(css).click()

    def all_texts(self, css: str) -> list[str]:
        """Returns the texts of all elements, drawn ones of an SVG included."""
        script = (
            "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent.trim())"
        )
        return list(self.driver.execute_script(script, css))

    def count(self, css: str) -> int:
        """Counts elements."""
        return len(self.driver.find_elements(By.CSS_SELECTOR, css))


@contextlib.contextmanager
def running_browser(width: int = 1600, height: int = 1200) -> Iterator[Browser]:
    """Runs a browser; skips without one, and fails if `RECDROP_REQUIRE_BROWSER=1`."""
    programs = find_browser()
    if programs is None:
        message = "no Chromium; on Debian: apt-get install chromium chromium-driver"
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(message)
        pytest.skip(message)
    profile = Path(tempfile.mkdtemp(prefix="recdrop-browser-"))
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for argument in (
        "--headless=new",
        "--no-sandbox",  # Root, in a container.
        "--disable-dev-shm-usage",
        "--no-proxy-server",
        "--hide-scrollbars",
        f"--user-data-dir={profile}",
        f"--window-size={width},{height}",
    ):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=Service(programs[1]))
    try:
        driver.set_page_load_timeout(SECONDS)
        yield Browser(driver)
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)
