"""Each action of the API has a scope, and what has none is refused: all routes are walked, so none can be forgotten."""

import re

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from accounts.api_keys import keys
from accounts.models import ApiKey, Scope, UsageEntry
from projects.models import Asset, Avatar
from projects.models.webhooks import WebhookEndpoint
from projects.webhooks.outbox import ping
from tests.conftest import Caller
from tests.creatorify.api.test_tenancy import OPEN, api_routes, concrete
from tests.projects.steps import claim, create, finish

# Without a key by intention: the document and its readers; a signed address.
WITHOUT_SCOPE = {
    "SchemaView",
    "SpectacularSwaggerSplitView",
    "SpectacularRedocView",
    "PreviewView",
    "UploadContentView",
}
METHODS = ("get", "post", "put", "patch", "delete", "head", "trace")


def api_views():
    """Each view class of the API with the actions that its route leads to, by method."""

    def walk(patterns):
        for pattern in patterns:
            if isinstance(pattern, URLResolver):
                yield from walk(pattern.url_patterns)
            elif isinstance(pattern, URLPattern):
                view = getattr(pattern.callback, "cls", None)
                if view is not None and issubclass(view, APIView):
                    yield view, getattr(pattern.callback, "actions", None)

    return list(walk(get_resolver().url_patterns))


def test_each_action_names_a_scope():
    checked = 0
    for view, actions in api_views():
        if view.__name__ in WITHOUT_SCOPE:
            assert AllowAny in view.permission_classes, view
            assert list(view.authentication_classes) == [], view
            continue
        for action in actions.values() if actions else [view.action]:
            assert view.required_scopes.get(action) in Scope.values, (view, action)
            checked += 1
    assert checked > 30


def test_a_key_without_scopes_is_not_told_what_a_view_takes(alice):
    ApiKey.objects.filter(pk=alice.key.pk).update(scopes=[])

    for route in set(api_routes()) - OPEN:
        path = re.sub(r"\(\?P<month>.*\)$", "2026-05", re.sub(r"\(\?P<pk>[^)]*\)", str(alice.key.pk), route))
        assert alice.options(f"/api/v1/{path}").status_code == 403, route


def test_any_of_a_views_scopes_is_enough_to_be_told(alice):
    ApiKey.objects.filter(pk=alice.key.pk).update(scopes=[Scope.PROJECTS_WRITE])

    assert alice.options("/api/v1/projects").status_code == 200
    assert alice.options("/api/v1/usage").status_code == 403
    assert alice.options("/api/v1/keys").status_code == 403


class Forgotten(APIView):
    def get(self, request) -> Response:
        return Response("open")

    post = get


class ForgottenAction(Forgotten):
    action = "new"
    required_scopes = {"old": Scope.PROJECTS_READ}


class ForgottenName(Forgotten):
    required_scopes = {"get": Scope.PROJECTS_READ}


@pytest.mark.parametrize("view", [Forgotten, ForgottenAction, ForgottenName])
@pytest.mark.parametrize("method", ["get", "post", "head", "options"])
def test_what_names_no_scope_is_refused(db, acme, view, method):
    _, plain = keys.issue(acme, name="all", scopes=list(Scope))
    request = getattr(APIRequestFactory(), method)("/", HTTP_X_API_KEY=plain)
    request.request_id = "req_1"

    answer = view.as_view()(request)

    # OPTIONS is for whoever has one of the scopes that the view does name.
    told = method == "options" and view is not Forgotten
    assert answer.status_code == (200 if told else 403)


@pytest.mark.parametrize("method", ["put", "delete", "patch"])
def test_a_method_that_is_not_there_is_405(alice, method):
    assert getattr(alice, method)("/api/v1/projects").status_code == 405
    assert getattr(alice, method)("/api/v1/voices").status_code == 405


@pytest.fixture
def live_rows(acme) -> dict[str, str]:
    """One of everything, made with a live key."""
    live = Caller(acme, "secret-name")
    project = create(live, user_id="secret-user", title="secret-title", parameters={"engine": "draft"})
    finish(claim())
    asset = Asset.objects.create(
        tenant=acme, filename="secret-file", content_type="image/png", num_bytes=1, key="k", state="ready"
    )
    endpoint = WebhookEndpoint.objects.create(tenant=acme, url="https://secret-url.example")
    return {
        "projects": project["id"],
        "keys": str(live.key.pk),
        "usage": str(UsageEntry.objects.get().pk),
        **dict.fromkeys(("assets", "uploads"), str(asset.pk)),
        "avatars": str(Avatar.objects.create(tenant=acme, name="secret-face", asset=asset).pk),
        "webhook-endpoints": str(endpoint.pk),
        "webhook-deliveries": str(ping(endpoint).pk),
    }


def test_a_test_key_sees_and_changes_nothing_that_is_live(live_rows, acme):
    UsageEntry.objects.update(amount_micros=987654, billed_seconds=1, currency="XTS")
    test = Caller(acme, "test")
    test.key, plain = keys.issue(acme, name="test", mode="test", scopes=list(Scope))
    test.credentials(HTTP_X_API_KEY=plain)
    called = 0
    month = f"{UsageEntry.objects.get().created_at:%Y-%m}"

    for route in set(api_routes()) - OPEN:
        for method in ("get", "post", "put", "patch", "delete"):
            path = concrete(route, live_rows).replace("2026-05", month)
            for query in ("", "?as=csv", "?as=html", "?as=focus") if "usage" in path and method == "get" else ("",):
                answer = (
                    getattr(test, method)(f"{path}{query}", {}, format="json")
                    if method != "get"
                    else test.get(path + query)
                )
                called += 1
                assert answer.status_code < 500, (method, path)
                text = getattr(answer, "content", b"").decode()
                for live in ("secret-", "987654", "XTS", live_rows["projects"], live_rows["assets"]):
                    assert live not in text, (method, path + query, text)
                if "(?P<pk>" in route:
                    assert answer.status_code in (404, 405), (method, path, text)
    assert called > 60
    assert UsageEntry.objects.filter(tenant=acme).count() == 1
