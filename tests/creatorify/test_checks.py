import pytest

from creatorify import checks


def ids(messages) -> list[str]:
    return [message.id for message in messages]


def test_the_settings_as_shipped_pass() -> None:
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
    ],
)
def test_a_harmful_setting_is_named(settings, setting: str, value: object, check, code: str) -> None:
    setattr(settings, setting, value)

    assert ids(check()) == [code]
