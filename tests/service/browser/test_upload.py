"""A page of another origin sends a file to an upload's address, and reads the answer, a refusal too."""

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.service.browser.conftest import CHROMIUM

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (Debian: apt-get install chromium)"),
    pytest.mark.timeout(300),
]


def test_a_page_of_another_origin_sends_a_file(service, client, site, page: Page) -> None:
    base_url, folder = site
    shutil.copy(Path(__file__).with_name("upload.html"), folder)
    announced = {"filename": "me.png", "content_type": "image/png;x=y", "bytes": 1000}
    upload = client.post("/uploads", json=announced).raise_for_status().json()
    page.goto(f"{base_url}/upload.html")
    send = "([url, headers, size]) => send(url, headers, size)"

    answers = [page.evaluate(send, [upload["url"], upload["headers"], size]) for size in (999, 1000, 1000)]

    assert answers == [[422, "size_mismatch"], [200, None], [409, "invalid_state"]]
