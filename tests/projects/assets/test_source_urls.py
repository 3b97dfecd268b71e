import contextlib

import pytest
from rest_framework.serializers import ValidationError

from projects.assets.source_urls import validate_address, validate_source_url
from tests.hostile_addresses import FORBIDDEN_URLS


@pytest.mark.parametrize(
    "url", ["http://xn--/", "http://①②.com/", "http://a..b/x.png", "http://127.0.0.1:0/", f"http://{'a' * 300}.com/"]
)
def test_a_host_that_can_lead_nowhere_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        validate_source_url(url)

    assert caught.value.get_codes() == ["url_not_allowed"]


@pytest.mark.parametrize(
    "url", ["https://example.com/a.png?x=1", "http://bücher.example/a.png", "http://[2001:db8::1]/"]
)
def test_an_address_that_can_be_fetched_passes(url: str) -> None:
    validate_source_url(url)


def test_what_no_client_opens_is_refused() -> None:
    """Sources and receivers of webhooks are held to the same rule."""
    accepted = []
    for url in filter(None, FORBIDDEN_URLS):
        with contextlib.suppress(ValidationError):
            validate_address(url)
            accepted.append(url)

    assert accepted == []
