"""The layers around Django know paths by patterns of their own; these must agree with Django's."""

import uuid

import pytest
from django.urls import reverse

from creatorify.asgi_middleware import routes

PROJECT = uuid.UUID(int=7)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        (routes.UPLOAD, reverse("upload-content", args=["token"])),
        (routes.EVENTS, reverse("project-events", args=[PROJECT])),
        (routes.STATUS, reverse("project-status", args=[PROJECT])),
    ],
)
def test_the_pattern_is_that_of_the_view(pattern, path: str) -> None:
    assert pattern.fullmatch(path) and pattern.fullmatch(f"{path}/")
    assert not pattern.fullmatch(f"{path}/x")
