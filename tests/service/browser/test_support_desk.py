"""A support agent at work in a real browser: finds a failed project by its key, reads why, retries it, credits it."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from playwright.sync_api import Page, expect

from accounts.models import AuditEntry, UsageEntry
from render.models import Render, State
from tests.service.browser.conftest import CHROMIUM, keep
from tests.service.conftest import ended

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@pytest.fixture
def agent(service) -> User:
    user = User.objects.create_user("sam", password="a long password", is_staff=True)
    user.groups.add(Group.objects.get(name="Agent"))
    return user


def test_an_agent_finds_reads_retries_and_credits(service, agent, alice, post, wait_for, site, page: Page) -> None:
    base_url, _ = site
    finished = post("instant", title="A good film")
    failed = post("instant", title="A film that failed", audio_url=f"{base_url}/missing.wav")
    wait_for(finished, ended)
    assert wait_for(failed, ended)["status"] == "failed"

    page.goto(f"{service.base_url}/admin/")
    page.get_by_label("Username").fill("sam")
    page.get_by_label("Password").fill("a long password")
    page.get_by_role("button", name="Log in").click()
    keep(page, "admin-index")
    page.get_by_role("link", name="Projects", exact=True).last.click()
    page.locator("#searchbar").fill(alice.key.prefix)
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("2 projects")).to_be_visible()
    keep(page, "projects")

    page.get_by_role("link", name="A film that failed").click()
    expect(page.get_by_text("download_failed").first).to_be_visible()
    keep(page, "project")
    page.get_by_role("link", name="Retry").click()
    page.get_by_label("Reason").fill("Their server was down.")
    keep(page, "retry")
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("Take 2 is queued.")).to_be_visible()

    page.goto(f"{service.base_url}/admin/projects/project/{finished}/change/")
    page.get_by_role("link", name="Credit").click()
    page.get_by_label("Reason").fill("A dark film.")
    page.get_by_label("Seconds").fill("2")
    page.get_by_role("button", name="Credit").click()
    expect(page.get_by_text("were given back.")).to_be_visible()
    page.goto(f"{service.base_url}/admin/operations/")
    keep(page, "operations")
    page.goto(f"{service.base_url}/admin/report/")
    expect(page.get_by_text("403 Forbidden")).to_be_visible()

    wait_for(failed, ended)
    # In a thread: Django refuses its database where a browser's loop runs.
    with ThreadPoolExecutor(1) as pool:
        failures, credited, actions = pool.submit(written_down, failed).result()
    assert (failures, credited) == (2, -2)
    assert actions == [
        ("project.retry", "sam", "Their server was down."),
        ("project.credit", "sam", "A dark film."),
    ]


def written_down(failed: str) -> tuple[int, int | None, list[tuple]]:
    try:
        failures = Render.objects.filter(take__project=failed, state=State.FAILED).count()
        credit = UsageEntry.objects.get(render_id=None)
        actions = AuditEntry.objects.order_by("pk").values_list("action", "actor__username", "reason")
        return failures, credit.billed_seconds, list(actions)
    finally:
        connection.close()
