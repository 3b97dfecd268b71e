import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.stack import until

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SCREENSHOTS = os.environ.get("SCREENSHOTS")  # a folder to keep pictures of the pages in
# Nothing but the page under test reaches the network.
ARGUMENTS = [
    "--headless",
    "--hide-scrollbars",
    "--mute-audio",
    "--no-first-run",
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]


def keep(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"{name}.png", full_page=True)


@pytest.fixture(scope="package")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the one that all tests here share: its start takes longer than a page."""
    folder = tmp_path_factory.mktemp("chromium")
    command = [CHROMIUM, *ARGUMENTS, "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"]
    said = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=said, stdout=said, stderr=said, start_new_session=True)
    try:
        port = folder / "DevToolsActivePort"
        until(lambda: port.exists() and port.read_text().count("\n") > 0)
        yield f"http://127.0.0.1:{port.read_text().split()[0]}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def browser(service, chromium: str) -> Iterator[Browser]:
    """After the service, so that it is gone again when the database is emptied: Django refuses that beside its loop."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.connect_over_cdp(chromium)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()  # with no cookie of another test
    page = context.new_page()
    page.on("console", lambda message: print("browser:", message.text))  # pytest shows it where a test fails
    yield page
    context.close()
