"""The documentation and the admin in a real browser, under the policy that the service sends with them."""

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page

from tests.browser.conftest import CHROMIUM

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (Debian: apt-get install chromium)"),
    pytest.mark.timeout(300),
]
PATIENCE_MILLISECONDS = 60_000
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
    violations.push([event.effectiveDirective, event.blockedURI]);
});
"""
LOGO_OF_REDOC = ["img-src", "https://cdn.redoc.ly/redoc/logo-mini.svg"]  # Nothing is loaded from elsewhere.


def wait_until(page: Page, condition: str) -> None:
    page.wait_for_function(condition, timeout=PATIENCE_MILLISECONDS)


@pytest.fixture
def staff(service) -> User:
    """Before there is a browser, beside whose loop Django refuses to write."""
    return User.objects.create_superuser("staff", password="a password for the browser")


def test_the_pages_work_under_their_policy(service, staff, page: Page) -> None:
    page.add_init_script(WATCH)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(f"{page.url}: {error}"))

    page.goto(f"{service.base_url}/api/docs/")
    page.locator("[id^=operations-voices] button").first.click(timeout=PATIENCE_MILLISECONDS)
    page.click("text=Try it out")
    page.click("text=Execute")
    wait_until(page, "document.body.innerText.includes('unauthenticated')")
    assert page.evaluate("violations") == []

    page.goto(f"{service.base_url}/api/redoc/")
    page.fill("input[placeholder='Search...']", "rotate", timeout=PATIENCE_MILLISECONDS)
    wait_until(page, "document.body.innerText.includes('Replace an API key')")
    assert [violation for violation in page.evaluate("violations") if violation != LOGO_OF_REDOC] == []

    page.goto(f"{service.base_url}/admin/")
    page.fill("#id_username", "staff")
    page.fill("#id_password", "a password for the browser")
    page.click("input[type=submit]")
    page.goto(f"{service.base_url}/admin/accounts/apikey/add/")
    page.click(".datetimeshortcuts a")  # today, by a script
    assert page.evaluate("document.querySelector('#id_expires_at_0').value.length") == 10
    page.click(".select2-selection")
    wait_until(page, "document.querySelector('.select2-results__option') !== null")
    assert page.evaluate("violations") == []
    for path in ("operations", "invariants", "report", "projects/project", "auth/user/add"):
        page.goto(f"{service.base_url}/admin/{path}/")
        assert page.evaluate("violations") == [], path
    assert faults == []
