import re

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.test import Client

from accounts.api_keys import keys
from accounts.errors import ServiceError
from accounts.models import ApiKey, Plan, Tenant

KEYS = "/admin/accounts/apikey/"
PLAIN_KEY = re.compile(r"cf_test_\w{8}_\w{32}_\w{6}")


def add_key(client: Client, tenant: Tenant, **overrides):
    fields = {"tenant": tenant.pk, "name": "Shop", "mode": "test", "scopes": ["projects:read"], "legacy_200": "on"}
    return client.post(f"{KEYS}add/", {**fields, **overrides}, follow=True)


def test_a_new_keys_plain_text_is_shown_once_and_kept_nowhere(admin_client: Client, acme: Tenant):
    response = add_key(admin_client, acme)

    plain = PLAIN_KEY.findall(response.content.decode())
    assert len(plain) == 1
    key = keys.authenticate(plain[0])
    assert (key.tenant, key.name, key.scopes, key.legacy_200) == (acme, "Shop", ["projects:read"], True)
    assert ApiKey.objects.count() == 1
    for page in (KEYS, f"{KEYS}{key.pk}/change/", f"{KEYS}{key.pk}/history/"):
        assert not PLAIN_KEY.search(admin_client.get(page).content.decode())
    assert "Shop" not in str([session.get_decoded() for session in Session.objects.all()])
    assert not PLAIN_KEY.search(str(LogEntry.objects.values()))
    assert "messages" not in admin_client.cookies or not admin_client.cookies["messages"].value


def test_the_digest_is_never_shown(admin_client: Client, alice):
    for page in (KEYS, f"{KEYS}{alice.key.pk}/change/", f"/admin/accounts/tenant/{alice.tenant.pk}/change/"):
        html = admin_client.get(page).content.decode()
        assert alice.key.prefix in html
        assert alice.key.digest not in html


def test_a_key_without_a_scope_is_refused(admin_client: Client, acme: Tenant):
    add_key(admin_client, acme, scopes=[])

    assert not ApiKey.objects.exists()


def test_changing_a_key_keeps_its_tenant_mode_and_digest(admin_client: Client, alice, charlie):
    data = {"name": "Renamed", "scopes": ["usage:read"], "tenant": charlie.tenant.pk, "mode": "test"}

    admin_client.post(f"{KEYS}{alice.key.pk}/change/", data)

    key = keys.authenticate(alice.plain_key)
    assert (key.name, key.scopes, key.tenant, key.mode) == ("Renamed", ["usage:read"], alice.tenant, "live")


def test_a_revoked_key_opens_nothing_and_the_others_still_do(admin_client: Client, alice, bob):
    admin_client.post(KEYS, {"action": "revoke", "_selected_action": alice.key.pk})

    with pytest.raises(ServiceError, match="revoked"):
        keys.authenticate(alice.plain_key)
    assert keys.authenticate(bob.plain_key) == bob.key
    assert LogEntry.objects.get().change_message == "Revoked."


def test_revoking_again_keeps_the_first_moment(admin_client: Client, alice):
    admin_client.post(KEYS, {"action": "revoke", "_selected_action": alice.key.pk})
    first = ApiKey.objects.get().revoked_at

    admin_client.post(KEYS, {"action": "revoke", "_selected_action": alice.key.pk})

    assert ApiKey.objects.get().revoked_at == first


@pytest.mark.parametrize("model", ["apikey", "tenant"])
def test_keys_and_tenants_cannot_be_deleted(admin_client: Client, alice, model):
    row = alice.key if model == "apikey" else alice.tenant

    response = admin_client.post(f"/admin/accounts/{model}/{row.pk}/delete/", {"post": "yes"})

    assert response.status_code == 403


def test_a_tenant_is_suspended_and_resumed(admin_client: Client, alice):
    url = "/admin/accounts/tenant/"
    admin_client.post(url, {"action": "suspend", "_selected_action": alice.tenant.pk})
    with pytest.raises(ServiceError, match="suspended"):
        keys.authenticate(alice.plain_key)

    admin_client.post(url, {"action": "resume", "_selected_action": alice.tenant.pk})

    assert keys.authenticate(alice.plain_key) == alice.key


def test_a_tenant_is_made_by_form(admin_client: Client, plan: Plan):
    inlines = {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}

    admin_client.post("/admin/accounts/tenant/add/", {"name": "Globex", "plan": plan.pk, **inlines})

    assert Tenant.objects.get().name == "Globex"


@pytest.mark.parametrize(
    ("prices", "accepted"),
    [
        ('{"draft": {"480p": 100, "720p": 0}}', True),
        ('{"draft": {"480p": 100, "720p": 0}, "upscale": {"1080p": 5}}', True),
        ('{"draft": {"480p": 100, "720p": 0}, "upscale": {"480p": 5}}', False),
        ('{"upscale": {"720p": 5, "1080p": 5}}', False),
        ("{}", True),
        ("null", True),
        ("", True),
        ("[1]", False),
        ("[]", False),
        ('"draft"', False),
        ("NaN", False),
        ('{"draft": {"480p": NaN, "720p": 1}}', False),
        ('{"draft": {"480p": 100}}', False),
        ('{"draft": 100}', False),
        ('{"draft": {}}', False),
        pytest.param("[" * 2000, False, id="deep"),
        pytest.param("[" * 990 + "]" * 990, False, id="deep and whole"),
    ],
)
def test_a_plans_prices_must_have_their_shape(admin_client: Client, db, settings, prices, accepted):
    settings.RENDER_ENGINES = {"draft": settings.RENDER_ENGINES["draft"]}

    response = add_plan(admin_client, prices=prices)

    assert (response.status_code, Plan.objects.exists()) == (302 if accepted else 200, accepted)


def test_a_refused_plan_names_what_is_missing(admin_client: Client, db, settings):
    settings.RENDER_ENGINES = {"draft": settings.RENDER_ENGINES["draft"]}

    page = add_plan(admin_client, spend_cap_micros=5_000_000, prices='{"draft": {"720p": 1}}').content.decode()

    assert "Missing: draft 480p." in page
    assert not Plan.objects.exists()


def test_the_list_of_plans_shows_which_lack_prices(admin_client: Client, plan: Plan):
    Plan.objects.create(name="Lacking", prices={"draft": {"480p": 1}})
    page = admin_client.get("/admin/accounts/plan/").content.decode()

    assert page.count('class="field-is_priced"><img src="/static/admin/img/icon-no.svg"') == 1
    assert page.count('class="field-is_priced"><img src="/static/admin/img/icon-yes.svg"') == 1


def test_the_form_says_that_upscaling_without_a_price_is_not_sold(admin_client: Client, plan: Plan):
    page = admin_client.get(f"/admin/accounts/plan/{plan.pk}/change/").content.decode()

    assert "An upscaling without a price is not sold on a plan with prices." in page


def test_a_plan_without_weight_is_refused_because_the_queue_divides_by_it(admin_client: Client, db):
    add_plan(admin_client, weight=0)

    assert not Plan.objects.exists()


def add_plan(client: Client, **overrides):
    numbers = ["monthly_seconds", "max_stored_bytes", "max_concurrent", "max_queued", "max_audio_seconds", "weight"]
    numbers += ["requests_per_minute", "creates_per_minute"]
    data = {"name": "Basic", "currency": "USD", "retention_days": 30, **dict.fromkeys(numbers, 1), "prices": "{}"}
    return client.post("/admin/accounts/plan/add/", {**data, **overrides})
