"""No page of the admin has a link that opens a tenant's media without a look being written down."""

import re
from html import unescape
from urllib.parse import urlsplit

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from accounts.admin.base import external_link, without_queries
from accounts.models import AuditEntry
from projects.models import Asset, Avatar, Project
from projects.models.webhooks import WebhookEndpoint
from projects.webhooks.outbox import ping
from render.models import Render, Segment
from tests.projects.steps import finished_project

SIGNED = re.compile(
    r"[?&](signature|X-Amz-Signature|expires|token)=|/previews/|/media/(?!video|poster|portrait|voice|segment)"
)
ADDRESS = "https://bucket.example/face.png?X-Amz-Signature=secret-signature"


@pytest.fixture
def rows(alice) -> dict:
    project = finished_project(alice, image_url=ADDRESS, audio_url=ADDRESS)
    render = Render.objects.get(tenant=alice.tenant)
    trace = f"HTTPError: 403 for '{ADDRESS}' at line 7"
    Render.objects.filter(pk=render.pk).update(error_trace=trace, plan={"segments": []}, segments_total=1)
    segment = {"key": f"work/{alice.tenant.pk}/renders/{render.pk}/a1/segment.ts", "num_bytes": 1, "frames": 25}
    Segment.objects.get_or_create(render=render, index=0, defaults={"attempt": 1, **segment})
    asset = Asset.objects.create(
        tenant=alice.tenant, filename="a.png", content_type="image/png", num_bytes=1, key="k/a.png", state="ready",
        kind="image", facts={"faces": []},
    )  # fmt: skip
    Avatar.objects.create(tenant=alice.tenant, name="face", asset=asset)
    ping(WebhookEndpoint.objects.create(tenant=alice.tenant, url="https://hook.example/"))
    return project


@pytest.fixture(params=["Viewer", "Agent", "Admin", "superuser"])
def browser(request, db) -> Client:
    user = User.objects.create_user("staff", is_staff=True, is_superuser=request.param == "superuser")
    user.groups.add(*Group.objects.filter(name=request.param))
    client = Client()
    client.force_login(user)
    return client


def pages(client: Client) -> dict[str, str]:
    """Every list, and the pages of three rows of each model, that this one may see."""
    found = {}
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        addresses = [reverse(f"{name}_changelist")]
        found_rows = model._default_manager.all()[:3]
        addresses += [reverse(f"{name}_change", args=[row.pk]) for row in found_rows]
        addresses += [reverse(f"{name}_history", args=[row.pk]) for row in found_rows[:1]]
        for address in addresses:
            answer = client.get(address)
            if answer.status_code == 200:
                found[address] = unescape(answer.content.decode())
    return {**found, "index": unescape(client.get("/admin/").content.decode())}


def test_no_page_has_a_link_that_is_signed(browser, rows, alice):
    seen = pages(browser)

    assert len(seen) > 20
    for address, text in seen.items():
        assert "secret-signature" not in text, address
        for link in re.findall(r"""(?:https?://|"/)[^"'\s<>]+""", text):
            path = urlsplit(link.lstrip('"'))
            if not path.path.startswith(("/admin/", "/static/")):
                assert not SIGNED.search(link), (address, link)
    assert not AuditEntry.objects.filter(action="media.view").exists()


def test_the_tenant_itself_has_links(rows, alice):
    """Else the test above would find nothing because there is nothing."""
    shown = alice.get(rows["urls"]["self"]).json()

    assert SIGNED.search(shown["video_url"]) and SIGNED.search(shown["preview_url"])
    assert shown["takes"][-1]["video_url"]


def test_the_rest_of_what_the_tenant_sees_is_there(admin_client, rows):
    project = Project.objects.get(pk=rows["id"])
    text = unescape(admin_client.get(reverse("admin:projects_project_change", args=[project.pk])).content.decode())

    shown = text[text.index("As the tenant sees it") :]
    for name in ("video_url", "preview_url", "poster_url", "thumbnail_url"):
        assert f'"{name}": null' in shown, name
    assert '"image_url": "https://bucket.example/face.png?..."' in shown
    assert f'"id": "{project.pk}"' in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://a.example/x.png?sig=1&b=2", "https://a.example/x.png?..."),
        (
            "GET http://a.example/x?y failed, http://b.example/?z",
            "GET http://a.example/x?... failed, http://b.example/?...",
        ),
        ('{"url": "https://a.example/x?sig=1"}', '{"url": "https://a.example/x?..."}'),
        ("https://a.example/x.png", "https://a.example/x.png"),
        ("why? because", "why? because"),
    ],
)
def test_queries_are_left_out(text, shown):
    assert without_queries(text) == shown


def test_a_public_address_is_a_link_and_a_signed_one_is_text():
    assert 'href="https://a.example/x.png"' in external_link("https://a.example/x.png")
    assert external_link("https://a.example/x.png?sig=1") == "https://a.example/x.png?..."
    assert external_link("javascript:alert(1)") == "javascript:alert(1)"
    assert external_link("") == external_link(None) == "-"
