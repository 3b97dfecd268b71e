"""The documentation and the admin in a real browser, under the policy that the service sends with them."""

import uuid

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page

from accounts.models import UsageEntry
from tests.service.browser.conftest import CHROMIUM, keep
from tests.service.conftest import ended

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


@pytest.fixture
def billed(alice, staff) -> None:
    """So that the report has columns to show."""
    UsageEntry.objects.create(
        tenant=alice.tenant, render_id=uuid.uuid4(), engine="infinitetalk", resolution="720p", reserved_seconds=500,
        billed_seconds=500, price_micros=123_456_789, amount_micros=61_728_394_500, gpu_seconds=12345.6,
    )  # fmt: skip


def test_on_a_telephone_no_page_is_wider_than_it(service, staff, billed, post, wait_for, page: Page) -> None:
    project = post("instant", title="A film")
    wait_for(project, ended)
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"{service.base_url}/admin/")
    page.fill("#id_username", "staff")
    page.fill("#id_password", "a password for the browser")
    page.click("input[type=submit]")
    for path in (
        *("/admin/report/", "/admin/operations/", "/admin/invariants/"),
        *(f"/admin/projects/project/{project}/change/", "/api/docs/errors"),
    ):
        page.goto(f"{service.base_url}{path}")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            keep(page, f"narrow-{scheme}{path.replace('/', '-')}".replace(project, "id"))
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
