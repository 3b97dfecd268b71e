import re
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db.models.functions import Now
from django.utils import timezone

from accounts.api_keys import keys
from accounts.errors import ServiceError
from accounts.models import ApiKey, Tenant

pytestmark = pytest.mark.django_db


def test_a_key_opens_its_tenant(alice) -> None:
    assert keys.authenticate(alice.plain_key).tenant == alice.tenant


def test_a_key_has_prefix_secret_and_checksum(alice) -> None:
    body, _, check = alice.plain_key.rpartition("_")

    assert re.fullmatch(r"cf_live_[0-9A-Za-z]{8}_[0-9A-Za-z]{32}_[0-9A-Za-z]{6}", alice.plain_key)
    assert keys.checksum(body) == check


def test_the_plain_key_is_stored_nowhere(alice) -> None:
    row = ApiKey.objects.filter(pk=alice.key.pk).values().get()
    secret = alice.plain_key.split("_")[3]

    assert not [column for column, value in row.items() if secret in str(value)]


@pytest.mark.parametrize("wrong", ["", "x", "cf_live_", "cf_live_00000000_x_y", "\x00", "cf_live_é"])
def test_anything_else_opens_nothing(alice, wrong: str) -> None:
    with pytest.raises(ServiceError) as caught:
        keys.authenticate(wrong)

    assert caught.value.code == "unauthenticated"


def test_a_key_with_one_letter_changed_opens_nothing(alice) -> None:
    changed = alice.plain_key[:-1] + ("0" if alice.plain_key[-1] != "0" else "1")

    with pytest.raises(ServiceError) as caught:
        keys.authenticate(changed)

    assert caught.value.code == "unauthenticated"


def test_an_expired_key_says_so(acme) -> None:
    _, plain = keys.issue(acme, name="old", expires_at=timezone.now() - timedelta(seconds=1))

    with pytest.raises(ServiceError) as caught:
        keys.authenticate(plain)

    assert caught.value.code == "key_expired"


def test_a_revoked_key_says_so(alice) -> None:
    ApiKey.objects.filter(pk=alice.key.pk).update(revoked_at=Now())

    with pytest.raises(ServiceError) as caught:
        keys.authenticate(alice.plain_key)

    assert caught.value.code == "key_expired"


def test_a_suspended_tenant_is_told(alice) -> None:
    Tenant.objects.update(suspended_at=Now())

    with pytest.raises(ServiceError) as caught:
        keys.authenticate(alice.plain_key)

    assert caught.value.code == "tenant_suspended"


def test_the_command_makes_a_tenant_with_a_working_key(capsys) -> None:
    call_command("create_tenant", "Globex", "--mode", "test")
    call_command("create_tenant", "Globex")
    call_command("create_tenant", "Globex", "--scope", "webhooks:write", "--scope", "keys:admin")

    first, second, third = capsys.readouterr().out.split()
    assert keys.authenticate(third).scopes == ["webhooks:write", "keys:admin"]
    assert "webhooks:write" not in keys.authenticate(second).scopes
    assert keys.authenticate(first).mode == ApiKey.Mode.TEST
    assert keys.authenticate(second).tenant == Tenant.objects.get(name="Globex")


@pytest.mark.parametrize("name", ["", "  ", "x" * 121])
def test_the_command_makes_no_tenant_whose_name_cannot_be_used(db, name: str) -> None:
    with pytest.raises(CommandError, match="cannot be used: "):
        call_command("create_tenant", name)

    assert not (Tenant.objects.exists() or ApiKey.objects.exists())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Acme"], "The tenant Acme exists already: this is one more key of it."),
        (["Acme "], "The tenant Acme exists already: this is one more key of it."),
        (["Globex", "--plan", "Nope"], "There was no plan Nope: it is made now, with default limits."),
        (["Globex", "--plan", "Test"], ""),
    ],
)
def test_the_command_tells_what_a_typing_error_would_do(alice, capsys, arguments: list[str], message: str) -> None:
    call_command("create_tenant", *arguments)

    assert message in capsys.readouterr().err
    assert ApiKey.objects.exclude(pk=alice.key.pk).get().tenant.name == arguments[0].strip()
