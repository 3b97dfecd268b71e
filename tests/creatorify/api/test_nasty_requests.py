"""No request ends in a 500: every route of the service is given nasty paths, queries, headers and bodies.

Routes, parameters and fields are read from the URL configuration, the API's own documentation and the admin, so that a
new one is tried without anybody having to think of it.
"""

import base64
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.contrib import admin
from django.contrib.admindocs.views import extract_views_from_urlpatterns, simplify_regex
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Model
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator

from accounts.models import ApiKey, Scope, UsageThreshold
from creatorify.settings import REST_FRAMEWORK
from projects.models import Asset, Avatar, RetentionFailure
from projects.models.webhooks import WebhookEndpoint
from projects.webhooks.outbox import ping
from render.machine import nodes
from tests.projects.steps import NEW, PROJECTS, create, finished_project

pytestmark = pytest.mark.django_db

ARABIC_MONTH = "\u0660\u0661\u0662\u0663-01"
TEXTS = [
    *("", "\0", "a\0b", "garbage", "'%\\", "../../etc/passwd", "-1", "1e999", "nan", "9" * 19, "9" * 5000),
    *("\u0663\u0664", "\u00b2", "\u202e\u200b", "\ud800", "x" * 6000, "a,b," * 500, "0000-01-01", "9999-12-31"),
    *("2026-13-45", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59.999999Z"),
    *("http://[::1", "http://\u0663.example:99999999999999999999/", "asset:\0", "avatar:" + "9" * 400),
]
MONTHS = ["0000-01", "0000-00", "0001-01", "9999-12", "9999-11", "2026-13", ARABIC_MONTH, "99999-01", "2026-W1"]
POSITIONS = [
    *("p=garbage", "p=%00", "p=2026-13-45", "p=9999-12-31T23:59:59-23:59", "p=0000-01-01", "p=\u0663", "r=1&p=x"),
    *("o=-1", "o=" + "9" * 5000, "o=\u0663", "o=10&p=2026-11-11", "r=\0", "p=", "\0", "p=2026-11-29 10:00"),
    *("p=2026-11-29T00:00:00%2B23:59", "p=2026-11-29T00:00:00-16:00"),
]
CURSORS = [base64.b64encode(position.encode()).decode() for position in POSITIONS]
VALUES: list[Any] = [
    *TEXTS,
    None,
    True,
    0,
    -1,
    10**19,
    10**400,
    -(10**400),
    0.1,
    1e308,
    [],
    {},
    [None],
    [[[]]],
    ["\ud800"],
    ["garbage"] * 500,
    {"\ud800": "x"},
    {"\0": "\0"},
    {"engine": "\ud800", "seed": 10**400, "resolution": [], "sample_shift": 10**400},
]
HEADERS = {
    "HTTP_RANGE": ["bytes=0-" + "9" * 5000, "bytes=\u00b2-\u00b2", "bytes=-0", "bytes=5-2", "bytes=-", "lines=1-2"],
    "HTTP_IF_RANGE": ["Mon, 99 Jan 0000 00:00:00 GMT", "\u00b2"],
    "HTTP_IF_MODIFIED_SINCE": ["Fri, 31 Dec 9999 23:59:60 GMT", "Mon, 01 Jan 0000 00:00:00 GMT", "x"],
    "HTTP_IF_NONE_MATCH": ["*", '"', 'W/"\u00b2"', "x" * 6000],
    "HTTP_PREFER": ["wait=" + "9" * 5000, "wait=-1", "wait=\u00b2", "wait=nan"],
    "HTTP_X_FORWARDED_FOR": ["garbage", "1.2.3.4, garbage", "", ",", "fe80::1%eth0", "1.2.3.4:99", "[::1]", "\u00b2"],
    "REMOTE_ADDR": ["garbage", "", "fe80::1%eth0", "\u00b2"],
    "HTTP_X_FORWARDED_PROTO": ["garbage", "https,http"],
    "HTTP_X_FORWARDED_HOST": ["\0", "a b"],
    "HTTP_HOST": ["\u00b2", "a b", "[::1", "localhost:99999999999999"],
    "HTTP_AUTHORIZATION": ["Bearer", "Bearer \u00b2", "Basic x", "Bearer " + "x" * 6000],
    "HTTP_X_API_KEY": ["\u00b2", "cf_live_", "x" * 6000],
    "HTTP_IDEMPOTENCY_KEY": ["", '"', "\u00b2", "x" * 6000],
    "HTTP_ACCEPT": ["garbage", "a/b;q=x", "*", ",,,", "text/event-stream"],
    "HTTP_ACCEPT_LANGUAGE": ["x" * 6000, "\u00b2", "de;q=nan"],
    "HTTP_COOKIE": ["sessionid=\u00b2", "csrftoken=" + "x" * 6000, "=;=;"],
    "HTTP_LAST_EVENT_ID": ["\u00b2", "9" * 5000],
    "HTTP_TRANSFER_ENCODING": ["chunked", "garbage"],
    "CONTENT_LENGTH": ["9" * 5000, "-1", "garbage", "\u00b2"],
    "CONTENT_TYPE": [
        *(f"application/json; charset={name}" for name in ("rot13", "base64", "zlib", "idna", "punycode", "undefined")),
        *(f"application/json; charset={name}" for name in ("utf-16", "utf-7", "unicode_escape", "garbage", "\u00b2")),
        "multipart/form-data",
        "multipart/form-data; boundary=\u00b2",
        "application/x-www-form-urlencoded; charset=rot13",
        "garbage",
        "",
    ],
}
RAW_BODIES = [
    b"", b"\0", b"\xff\xfe", b"{", b"[]", b"null", b"1", b'"x"', b"NaN", b"[" * 100_000, b'{"a":' * 50_000,
    b'{"title": 1e999}', b"9" * 5000, b'{"name": "\\ud800"}', b'{"\\ud800": 1}', b'{"name": "\xed\xa0\x80"}',
    b"\xef\xbb\xbf{}", b'{"title": ' + b"9" * 5000 + b"}", b'{"name": -Infinity}',
]  # fmt: skip


class Asker:
    """Sends requests and undoes what they do, so that each one meets the same rows; keeps those that end in a 500."""

    def __init__(self, client: Client, share: int) -> None:
        self.client, self.share = client, share
        client.raise_request_exception = False
        self.failed: list[str] = []
        self.number = 0

    def ask(self, method: str, path: str, *args: Any, **kwargs: Any) -> None:
        self.number += 1
        if self.number % self.share:
            return
        with transaction.atomic():
            response = self.client.generic(method, path, *args, **kwargs)
            # Also a page that is made piece by piece is made to its end.
            if response.streaming and "event-stream" not in response["Content-Type"]:
                b"".join(response.streaming_content)
            transaction.set_rollback(True)
        if response.status_code >= 500:
            error = response.exc_info and response.exc_info[1]
            self.failed.append(f"{method} {path[:120]!r} {str(args)[:200]} {str(kwargs)[:120]}: {str(error)[:200]}")

    def verdict(self, *, at_least: int) -> None:
        assert not self.failed, f"{len(self.failed)} requests:\n" + "\n".join(self.failed[:20])
        assert self.number >= at_least  # Else the test has found nothing to try.


@pytest.fixture(autouse=True)
def _settings(settings) -> None:
    settings.REST_FRAMEWORK = {**REST_FRAMEWORK, "NUM_PROXIES": 1}


@pytest.fixture
def rows(alice, charlie, django_user_model) -> dict[str, str]:
    """Collection -> id of one of alice's; the stranger has the same."""
    ids = {}
    for caller in (charlie, alice):
        ApiKey.objects.filter(pk=caller.key.pk).update(scopes=list(Scope))
        project = finished_project(caller)
        create(caller)
        endpoint = WebhookEndpoint.objects.create(tenant=caller.tenant, url="https://example.com/hook")
        asset = Asset.objects.create(
            tenant=caller.tenant,
            key=f"{caller.tenant.pk}/a.png",
            content_type="image/png",
            num_bytes=1,
            state="ready",
            kind="image",
            sha256="0" * 64,
            facts={"width": 9, "height": 9, "faces": [{"x": 0.1, "y": 0.1, "width": 0.5, "height": 0.5}]},
        )
        avatar = Avatar.objects.create(tenant=caller.tenant, name="Ann", asset=asset)
        UsageThreshold.objects.create(
            tenant=caller.tenant, month=timezone.now().date(), measure="seconds", percent=80, used=1, allowed=1
        )
        ids = {
            "projects": project["id"],
            "keys": str(caller.key.pk),
            "uploads": str(asset.pk),
            "assets": str(asset.pk),
            "avatars": str(avatar.pk),
            "webhook-endpoints": str(endpoint.pk),
            "webhook-deliveries": str(ping(endpoint).pk),
        }
    RetentionFailure.objects.create(step="films", row_id="1", error="no", next_try_at=timezone.now())
    nodes.heartbeat("cpu")
    return ids


# One request of so many is sent. A prime number: in each place other values are tried, and in all places each of them.
@pytest.fixture(autouse=True, params=[53, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
def share(request) -> int:
    return request.param


@pytest.fixture
def tenant(alice, rows, share) -> Asker:
    return Asker(alice, share)


@pytest.fixture
def staff(admin_client, rows, share) -> Asker:
    return Asker(admin_client, share)


def routes() -> list[str]:
    """All of the service, as `/api/v1/projects/<pk>/status`."""
    found = {simplify_regex(route) for _, route, *_ in extract_views_from_urlpatterns(get_resolver().url_patterns)}
    return sorted(re.sub(r"[?$]|\\Z", "", route) for route in found)


def filled(route: str, value: str) -> Iterator[str]:
    """The route with the value in each of its places, one after the other, and ordinary words in the others."""
    places = re.findall(r"<[^>]*>", route)
    for place in places:
        yield re.sub(r"<[^>]*>", "1", route.replace(place, quote(value, errors="surrogatepass"), 1))


@pytest.mark.parametrize("who", ["tenant", "staff"])
def test_paths(who, request) -> None:
    asker: Asker = request.getfixturevalue(who)
    with_places = [route for route in routes() if "<" in route]
    assert len(with_places) > 60

    for route in with_places:
        for value in [*MONTHS, *(text for text in TEXTS if text)]:
            for path in filled(route, value):
                asker.ask("GET", path)
        if not route.startswith("/admin"):
            for value in ("\0", "garbage", "9" * 19, "\ud800"):
                for path in filled(route, value):
                    asker.ask("POST", path, "{}", content_type="application/json")
                    asker.ask("DELETE", path)

    asker.verdict(at_least=1000)


def operations() -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Of the API's documentation: method, path, operation, and the whole of it."""
    schema = SchemaGenerator().get_schema(request=None, public=True)
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation, schema


def fill_ids(path: str, rows: dict[str, str]) -> str:
    collection = path.split("/")[3]
    path = re.sub(r"\{(id|upload_id)\}", rows.get(collection, "1"), path)
    return path.replace("{month}", "2026-11").replace("{", "").replace("}", "")


def test_queries(tenant, rows) -> None:
    for method, path, operation, _ in operations():
        names = [each["name"] for each in operation.get("parameters", []) if each["in"] == "query"]
        if method == "GET":
            names += ["unknown", "format"]
        values = [*TEXTS, *MONTHS]
        for name in names:
            for value in values + (CURSORS if name == "cursor" else []):
                query = urlencode({name: value}, errors="surrogatepass")
                tenant.ask(method, f"{fill_ids(path, rows)}?{query}", "{}", content_type="application/json")

    tenant.verdict(at_least=2000)


def test_headers(tenant, rows) -> None:
    tenant.share = min(tenant.share, 13)  # So few are tried that of a smaller share not each value would be among them.
    media = default_storage.url(default_storage.save("film.mp4", ContentFile(b"film" * 9)))
    for method, path in [
        ("GET", PROJECTS),
        ("GET", f"{PROJECTS}/{rows['projects']}/status"),
        ("GET", f"{PROJECTS}/{rows['projects']}/events"),
        ("GET", "/api/v1/usage?user_id=x"),
        ("POST", "/api/v1/keys"),
        ("POST", f"/api/v1/keys/{rows['keys']}/rotate"),
        ("DELETE", f"/api/v1/webhook-endpoints/{rows['webhook-endpoints']}"),
        ("PUT", "/api/v1/uploads/garbage/content"),
        ("GET", media),
        ("GET", "/healthz"),
        ("GET", "/api/docs"),
        ("GET", "/admin/login/?next=/admin/"),
        ("POST", "/admin/login/?next=/admin/"),
    ]:
        for name, values in HEADERS.items():
            for value in values:
                extra = {"content_type": value} if name == "CONTENT_TYPE" else {name: value}
                tenant.ask(method, path, b'{"name": "x"}', **{"content_type": "application/json", **extra})

    tenant.verdict(at_least=13 * len(HEADERS))


BASES: dict[str, dict[str, Any]] = {
    "/api/v1/projects": NEW,
    "/api/v1/keys": {"name": "x"},
    "/api/v1/uploads": {"filename": "a.png", "content_type": "image/png", "bytes": 5},
    "/api/v1/webhook-endpoints": {"url": "https://example.com/hook"},
    "/api/v1/avatars": {"name": "x"},
}


def fields_of(body: dict[str, Any], schema: dict[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all fields of a documented body, such as ("parameters", "seed")."""
    for reference in re.findall(r"#/components/schemas/(\w+)", json.dumps(body)):
        body = schema["components"]["schemas"][reference]
        for name, inner in body.get("properties", {}).items():
            yield (*prefix, name)
            if len(prefix) < 2:
                yield from fields_of(inner, schema, (*prefix, name))


def test_bodies(tenant, rows, alice) -> None:
    alice.tenant.plan.max_queued = 10**6
    alice.tenant.plan.save()
    tried = set()
    for method, path, operation, schema in operations():
        url = fill_ids(path, rows)
        if "requestBody" in operation and method in ("POST", "PATCH", "PUT"):
            for names in fields_of(operation["requestBody"], schema):
                tried.add(names[-1])
                for value in VALUES:
                    body = json.loads(json.dumps(BASES.get(path, {})))
                    inner = body
                    for name in names[:-1]:
                        inner = inner.setdefault(name, {})
                    inner[names[-1]] = value
                    tenant.ask(method, url, json.dumps(body), content_type="application/json")
        if method != "GET":
            for raw in RAW_BODIES:
                tenant.ask(method, url, raw, content_type="application/json")

    assert {"scopes", "seed", "overlap_hours", "expires_at", "metadata", "sha256", "events", "script"} <= tried
    tenant.verdict(at_least=2000)


def lookups(model_admin: admin.ModelAdmin) -> Iterator[str]:
    """Parameters of an admin list: its own, and those of its filters."""
    yield from ("q", "o", "p", "e", "_to_field", "unknown", "id__exact", "pk__in")
    for each in model_admin.list_filter:
        name = each[0] if isinstance(each, tuple) else each
        if not isinstance(name, str):
            yield name.parameter_name
            continue
        yield from (f"{name}__exact", f"{name}__isempty", f"{name}__gte", f"{name}__id__exact")
    if model_admin.date_hierarchy:
        yield from (f"{model_admin.date_hierarchy}__{part}" for part in ("year", "month", "day", "gte"))


ADMIN_TEXTS = [
    *("\0", "garbage", "-1", "9" * 19, "9" * 5000, "\u0663", "0000-00-00", "9999-12-31", "1.-2.99999", "\ud800"),
    *("2026-11-29T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "2026-11-29 00:00-15:59"),
]


def test_lists_of_the_admin(staff) -> None:
    for model, model_admin in admin.site._registry.items():
        try_list(staff, model, model_admin)

    staff.verdict(at_least=100 * len(admin.site._registry))


def try_list(staff: Asker, model: type[Model], model_admin: admin.ModelAdmin) -> None:
    base = f"/admin/{model._meta.app_label}/{model._meta.model_name}"
    for name in lookups(model_admin):
        for value in ADMIN_TEXTS:
            staff.ask("GET", f"{base}/?{urlencode({name: value}, errors='surrogatepass')}")
    for value in ADMIN_TEXTS:
        staff.ask("GET", f"{base}/add/?{urlencode({'name': value}, errors='surrogatepass')}")
        action = next(iter(model_admin.actions or ["delete_selected"]))
        chosen = urlencode({"action": action, "_selected_action": value}, errors="surrogatepass")
        staff.ask("POST", f"{base}/", chosen, content_type="application/x-www-form-urlencoded")


def test_dates_of_a_hierarchy_are_tried() -> None:
    hierarchies = [each.date_hierarchy for each in admin.site._registry.values() if each.date_hierarchy]

    assert "created_at" in hierarchies
