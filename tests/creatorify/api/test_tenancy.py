"""No route of the API shows or changes anything of another tenant: all routes are called, so none can be forgotten."""

import re
from itertools import product

import pytest
from django.urls import URLPattern, URLResolver, get_resolver, resolve
from django.urls.resolvers import RoutePattern

from accounts.models import ApiKey, IdempotentResponse, RequestWindow, Scope, UsageEntry
from projects.models import Asset, Avatar, Project, Take
from projects.models.webhooks import WebhookDelivery, WebhookEndpoint
from projects.webhooks.outbox import ping
from render.models import Render
from tests.projects.steps import claim, create, finish

METHODS = ["get", "post", "put", "patch", "delete"]
# Needs no key: the address itself is signed, and a stranger's signature does not exist.
OPEN = {"previews/<str:signed_id>/film.m3u8", "uploads/<str:token>/content"}
# They show what the key that asks has, and so nothing of another's.
OWN = {
    "projects",
    "keys",
    "voices",
    "webhook-endpoints",
    "webhook-deliveries",
    "assets",
    "avatars",
    "usage",
    "usage/entries",
    "usage/statements/(?P<month>[0-9]{4}-(?:0[1-9]|1[0-2]))",
}
WATCHED = [Project, Take, Render, UsageEntry, ApiKey, Asset, Avatar, WebhookEndpoint, WebhookDelivery]


def api_routes() -> list[str]:
    """The routes under /api/v1/, as they are written."""
    found: list[str] = []

    def walk(patterns, prefix: str) -> None:
        for pattern in patterns:
            route = str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                walk(pattern.url_patterns, prefix + route)
            elif isinstance(pattern, URLPattern) and prefix.startswith("api/v1/"):
                plain = route if isinstance(pattern.pattern, RoutePattern) else route.strip("^$")
                found.append(plain.removesuffix("/?").removesuffix("\\Z"))

    walk(get_resolver().url_patterns, "")
    return found


def concrete(route: str, ids: dict[str, str]) -> str:
    """The route with what belongs to the other tenant in it."""
    route = re.sub(r"\(\?P<month>.*\)$", "2026-05", route)
    route = re.sub(r"\(\?P<pk>[^)]*\)", lambda _: ids[route.split("/")[0]], route)
    assert "(?P" not in route, f"{route}: this test does not know what to put there"
    return f"/api/v1/{route}"


def is_offered(method: str, path: str) -> bool:
    """Else the request is refused with 405 before any view has it."""
    view = resolve(path).func
    return method in (getattr(view, "actions", None) or dir(view.cls))


@pytest.fixture
def foreign(alice) -> dict[str, str]:
    project = create(alice, user_id="secret-user", title="secret-title", parameters={"engine": "draft"})
    finish(claim())
    asset = Asset.objects.create(
        tenant=alice.tenant,
        filename="secret-name",
        content_type="image/png",
        num_bytes=1,
        key="secret-key",
        state="ready",
    )
    avatar = Avatar.objects.create(tenant=alice.tenant, name="secret-face", asset=asset)
    endpoint = WebhookEndpoint.objects.create(
        tenant=alice.tenant, url="https://secret-url.example", secret="secret-key"
    )
    delivery = ping(endpoint)
    return {
        "webhook-endpoints": str(endpoint.pk),
        "webhook-deliveries": str(delivery.pk),
        "projects": project["id"],
        "keys": str(alice.key.pk),
        "usage": str(UsageEntry.objects.get().pk),
        "assets": str(asset.pk),
        "uploads": str(asset.pk),
        "avatars": str(avatar.pk),
    }


def snapshot() -> list[list[dict]]:
    return [list(model.objects.order_by("pk").values()) for model in WATCHED]


def test_the_walk_finds_the_routes_there_are() -> None:
    routes = api_routes()

    assert set(routes) >= OWN | OPEN
    assert len(routes) >= 13


def test_a_foreign_key_opens_nothing(foreign, alice, charlie) -> None:
    ApiKey.objects.filter(pk=charlie.key.pk).update(scopes=list(Scope))
    ApiKey.objects.update(last_used_at=None)
    before = snapshot()
    called = 0
    for route, method in product(sorted(set(api_routes()) - OPEN), METHODS):
        answer = getattr(charlie, method)(concrete(route, foreign), {"title": ""}, format="json")
        called += 1
        text = answer.content.decode()
        assert answer.status_code < 500, (method, route, text)
        if answer.status_code < 400:
            assert (method, route) in {("get", own) for own in OWN}, (method, route, text)
        for secret in (
            "secret-user",
            "secret-title",
            "secret-name",
            "secret-face",
            "secret-url",
            foreign["projects"],
            alice.key.prefix,
        ):
            assert secret not in text, (method, route)
        if "(?P<pk>" in route:
            assert answer.status_code in (404, 405), (method, route, text)

    assert called > 50
    ApiKey.objects.update(last_used_at=None)
    assert snapshot() == before
    assert not IdempotentResponse.objects.exists()
    assert set(RequestWindow.objects.values_list("tenant", flat=True)) >= {charlie.tenant.pk}


def test_without_a_key_nothing_opens(foreign, anonymous) -> None:
    for route, method in product(sorted(set(api_routes()) - OPEN), METHODS):
        answer = getattr(anonymous, method)(concrete(route, foreign), {}, format="json")
        assert answer.status_code in (401, 404, 405), (method, route, answer.content)


def test_a_scope_less_key_opens_nothing(foreign, alice) -> None:
    ApiKey.objects.filter(pk=alice.key.pk).update(scopes=[])

    for route, method in product(sorted(set(api_routes()) - OPEN), METHODS):
        answer = getattr(alice, method)(concrete(route, foreign), {}, format="json")
        assert answer.status_code in (403, 404, 405), (method, route, answer.content)
