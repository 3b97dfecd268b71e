import pytest
from django.db import connection

from accounts.models import Plan
from creatorify import settings as shipped
from creatorify.config import checks
from tests.servers.s3 import use_bucket_without_credentials


def ids(messages) -> list[str]:
    return [message.id for message in messages]


def test_the_settings_as_shipped_pass(settings) -> None:
    settings.RENDER_LEASE_RENEW_SECONDS = shipped.RENDER_LEASE_RENEW_SECONDS  # The tests have another one.
    every = [checks.check_queue, checks.check_lease, checks.check_engines, checks.check_private_sources]

    assert [ids(check()) for check in every] == [[], [], [], []]


def test_a_ticket_that_would_come_twice_is_an_error(settings) -> None:
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "retry": settings.Q_CLUSTER["timeout"] + 1}

    assert ids(checks.check_queue()) == ["creatorify.E001", "creatorify.E001"]


def test_a_guard_that_never_reaches_zero_is_an_error(settings) -> None:
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "guard_cycle": 0.3}

    assert set(ids(checks.check_queue())) == {"creatorify.E002"}


@pytest.mark.parametrize(
    ("setting", "value", "check", "code"),
    [
        ("RENDER_LEASE_SECONDS", 20, checks.check_lease, "creatorify.E003"),
        ("DEFAULT_ENGINE", "infinitetalk", checks.check_engines, "creatorify.E004"),
        ("ALLOW_PRIVATE_MEDIA_URLS", True, checks.check_private_sources, "creatorify.W001"),
        ("PUBLIC_URL", "", checks.check_public_url, "creatorify.W006"),
    ],
)
def test_a_harmful_setting_is_named(settings, setting: str, value: object, check, code: str) -> None:
    setattr(settings, setting, value)

    assert ids(check()) == [code]


@pytest.mark.parametrize(
    ("host", "options", "codes"),
    [
        ("db.example.com", {}, ["creatorify.W002"]),
        ("db.example.com", {"sslmode": "require"}, ["creatorify.W002"]),
        ("db.example.com", {"sslmode": "verify-full"}, []),
        ("127.0.0.1", {}, []),
        ("/run/postgresql", {}, []),
        ("", {}, []),
    ],
)
def test_a_database_whose_certificate_is_not_verified_is_named(monkeypatch, host, options, codes) -> None:
    monkeypatch.setitem(connection.settings_dict, "HOST", host)
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)

    assert ids(checks.check_database_tls()) == codes


@pytest.mark.django_db
def test_a_plan_that_lacks_the_price_of_a_newly_installed_engine_is_named(settings) -> None:
    settings.RENDER_ENGINES = {"draft": settings.RENDER_ENGINES["draft"]}
    Plan.objects.create(name="Priced", prices={"draft": {"480p": 5, "720p": 0}})
    Plan.objects.create(name="Free")
    assert list(checks.check_prices(databases=["default"])) == []
    assert list(checks.check_prices()) == []

    settings.RENDER_ENGINES = {**settings.RENDER_ENGINES, "infinitetalk": {"queue": "gpu"}}
    [warning] = checks.check_prices(databases=["default"])

    assert warning.id == "creatorify.W004"
    assert "Priced has no price for infinitetalk 480p, infinitetalk 720p:" in warning.msg


def test_a_bucket_without_credentials_is_named(settings, monkeypatch) -> None:
    assert ids(checks.check_storage_credentials()) == []
    use_bucket_without_credentials(settings, monkeypatch)
    assert ids(checks.check_storage_credentials()) == ["creatorify.W005"]

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the machine")
    assert ids(checks.check_storage_credentials()) == []
