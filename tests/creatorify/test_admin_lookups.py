"""Who may see a list finds out by it what it shows, and nothing else: every list, by every field of every model."""

import itertools

import pytest
from django.contrib import admin
from django.contrib.admin.options import ModelAdmin
from django.contrib.auth.models import User
from django.db.models import Field, Model
from django.test import Client, RequestFactory
from django.urls import reverse

from accounts.admin.base import SupportAdmin
from projects.models.webhooks import WebhookEndpoint
from tests.projects.steps import finished_project

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
SECRET = {
    *("password", "digest", "secret", "previous_secret", "body", "payload", "args", "kwargs", "result"),
    *("error_trace", "script", "prompt", "key", "state_key", "video_key", "poster_key", "sources", "data"),
}
SUFFIXES = (
    "",
    "exact",
    "startswith",
    "istartswith",
    "contains",
    "icontains",
    "regex",
    "gt",
    "lt",
    "in",
    "range",
    "isnull",
)
DEPTH = 2  # relations to go through


def paths(model: type[Model], depth: int = DEPTH) -> list[tuple[str, bool]]:
    """Each field that a look-up could name, and whether it is one that nobody is to find out."""
    found = []
    for field in model._meta.get_fields():
        if isinstance(field, Field) and not field.is_relation:
            found.append((field.name, field.name in SECRET))
        elif depth and isinstance(field.related_model, type) and not field.name.endswith("+"):
            found += [(f"{field.name}__{path}", secret) for path, secret in paths(field.related_model, depth - 1)]
    return found


def offered(page: ModelAdmin) -> set[str]:
    request = RequestFactory().get("/")
    names = [item[0] if isinstance(item, tuple) else item for item in page.get_list_filter(request)]
    return {name if isinstance(name, str) else name.parameter_name for name in names}


def test_each_page_is_one_of_ours():
    for model, page in admin.site._registry.items():
        assert isinstance(page, SupportAdmin), model


def test_there_is_something_to_find_out():
    secrets = {path for model in MODELS for path, secret in paths(model) if secret}

    assert {"digest", "secret", "password", "api_keys__digest", "endpoint__secret", "user__password"} <= secrets


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_no_list_is_looked_up_by_what_it_does_not_offer(model):
    page, request = admin.site._registry[model], RequestFactory().get("/")
    refused = 0
    for (path, secret), suffix in itertools.product(paths(model), SUFFIXES):
        lookup = f"{path}__{suffix}".removesuffix("__")
        allowed = page.lookup_allowed(lookup, "x", request)
        if secret and path not in offered(page):
            assert not allowed, lookup
        if suffix in ("startswith", "contains", "regex", "range"):
            assert not allowed, lookup
        refused += not allowed
    assert refused > 10


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_no_list_is_searched_or_ordered_by_a_secret(model):
    page, request = admin.site._registry[model], RequestFactory().get("/")
    columns = [getattr(page, name, None) for name in page.get_list_display(request)]
    orders = {str(getattr(column, "admin_order_field", "")).lstrip("-") for column in columns}
    searched = {name.lstrip("=^@") for name in page.get_search_fields(request)}
    named = {*orders, *searched, *page.get_list_display(request), page.date_hierarchy, *offered(page)}
    ends = {str(name).rpartition("__")[2] for name in named}

    # The name of a queue, in the table of tickets.
    allowed = {"key"} if model._meta.label == "django_q.OrmQ" else set()
    assert not (ends & SECRET) - allowed


@pytest.fixture
def endpoint(alice, charlie) -> WebhookEndpoint:
    WebhookEndpoint.objects.create(tenant=charlie.tenant, url="https://other.example/", secret="whsec_other")
    return WebhookEndpoint.objects.create(tenant=alice.tenant, url="https://example.com/", secret="whsec_abc")


@pytest.mark.parametrize(
    ("page", "lookup"),
    [
        ("projects_webhookendpoint", "secret__startswith"),
        ("projects_webhookendpoint", "secret"),
        ("projects_webhookendpoint", "previous_secret__gt"),
        ("projects_webhookendpoint", "tenant__api_keys__digest__startswith"),
        ("projects_webhookdelivery", "body__contains"),
        ("projects_webhookdelivery", "endpoint__secret__startswith"),
        ("accounts_apikey", "digest__startswith"),
        ("accounts_usageentry", "api_key__digest__startswith"),
        ("accounts_usageentry", "author__password__startswith"),
        ("accounts_membership", "user__password__startswith"),
        ("accounts_auditentry", "actor__password__startswith"),
        ("accounts_auditentry", "api_key__digest__gt"),
        ("auth_user", "password__startswith"),
        ("auth_user", "email__startswith"),
        ("auth_group", "user__password__startswith"),
        ("render_render", "error_trace__contains"),
        ("render_render", "video_key__startswith"),
        ("projects_project", "api_key__digest__startswith"),
        ("projects_project", "script__text__contains"),
        ("projects_asset", "key__startswith"),
        ("django_q_ormq", "payload__contains"),
        ("django_q_success", "result__contains"),
    ],
)
def test_such_a_request_is_refused(admin_client, endpoint, page, lookup):
    assert admin_client.get(reverse(f"admin:{page}_changelist"), {lookup: "x"}).status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        {"_to_field": "secret"},
        {"_to_field": "digest", "_popup": "1"},
        {"o": "99"},
        {"o": "secret"},
        {"q": "whsec_abc"},
        {"e": "1"},
    ],
)
def test_no_other_part_of_the_address_tells_of_a_secret(admin_client, endpoint, query):
    answer = admin_client.get(reverse("admin:projects_webhookendpoint_changelist"), query)

    rows = answer.content.decode().count('<th class="field-short_id') if answer.status_code == 200 else 0
    assert answer.status_code in (200, 302, 400)
    assert rows == (0 if "q" in query or answer.status_code != 200 else 2)
    assert "q" in query or "whsec_abc" not in answer.content.decode()


def test_no_choice_is_searched_by_a_secret(admin_client, admin_user, endpoint, alice):
    for app, model, field in [("accounts", "membership", "tenant"), ("accounts", "membership", "user")]:
        for term in (alice.key.digest[:8], "whsec", admin_user.password.partition("$")[0], "!"):
            asked = {"app_label": app, "model_name": model, "field_name": field, "term": term}
            assert admin_client.get("/admin/autocomplete/", asked).json()["results"] == []


def test_what_the_lists_offer_works(admin_client, admin_user, endpoint, alice):
    """Each choice of each filter of each list. The page around the rows is the same for all, and is made once."""
    finished_project(alice)
    clicked = 0
    for model in MODELS:
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        changes = admin_client.get(url).context["cl"]
        for spec in changes.filter_specs:
            for choice in spec.choices(changes):
                if "query_string" in choice:
                    request = RequestFactory().get(url + choice["query_string"])
                    request.user = admin_user
                    chosen = admin.site._registry[model].get_changelist_instance(request)
                    assert len(chosen.result_list) == chosen.result_count
                    clicked += 1
    assert clicked > 80
    by_date = {"created_at__year": "2026", "created_at__month": "5", "created_at__day": "1"}
    assert admin_client.get(reverse("admin:accounts_apikey_changelist"), by_date).status_code == 200
    by_id = {"id__exact": str(endpoint.pk)}
    page = admin_client.get(reverse("admin:projects_webhookendpoint_changelist"), by_id).content.decode()
    assert page.count('<th class="field-short_id') == 1


def test_who_only_sees_is_refused_alike(endpoint):
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.groups.add(*viewer.groups.model.objects.filter(name="Viewer"))
    client = Client()
    client.force_login(viewer)
    url = reverse("admin:projects_webhookendpoint_changelist")

    assert client.get(url).status_code == 200
    assert client.get(url, {"secret__startswith": "w"}).status_code == 400
