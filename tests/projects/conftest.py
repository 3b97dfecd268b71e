from collections.abc import Iterator

import pytest

from accounts.models import ApiKey, Scope
from projects.webhooks import sender
from tests.projects.webhooks.steps import ALL, ENDPOINTS
from tests.render.conftest import site  # noqa: F401
from tests.servers.webhook_receiver import Receiver, receiving


@pytest.fixture
def all_scopes(alice) -> None:
    """For Alice's key."""
    ApiKey.objects.filter(pk=alice.key.pk).update(scopes=list(Scope))


@pytest.fixture
def receiver(settings, monkeypatch) -> Iterator[Receiver]:
    """On loopback; it verifies every message with the specification's own library."""
    settings.ALLOW_PRIVATE_MEDIA_URLS = True
    monkeypatch.setattr(sender, "TOTAL_SECONDS", 0.5)
    with receiving() as state:
        yield state


@pytest.fixture
def endpoint(alice, all_scopes, receiver) -> dict:
    """Of Alice, at the receiver, for all that happens to her projects."""
    made = alice.post(ENDPOINTS, {"url": receiver.url, "events": ALL}, format="json")
    assert made.status_code == 201, made.content
    receiver.secrets.append(made.json()["secret"])
    return made.json()
