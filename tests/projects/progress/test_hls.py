from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.core.signing import Signer
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.errors import ServiceError
from projects.progress.hls import preview_path
from render.fence import Claim
from render.lifecycle import progress, transitions
from render.storage import media
from tests.projects.steps import PROJECTS, claim, create, finished_project, latest_render

EDGES = [0, 81, 156, 168]  # frames


@pytest.fixture
def project(alice) -> dict[str, Any]:
    return create(alice)


@pytest.fixture
def claimed(project) -> Claim:
    """Its worker, when the sources are prepared."""
    claimed = claim()
    ranges = [{"start": start, "stop": stop} for start, stop in zip(EDGES, EDGES[1:], strict=False)]
    progress.prepared(claimed, sources={}, plan={"segments": ranges}, num_frames=168, segments_total=len(ranges))
    return claimed


@pytest.fixture
def pieces(claimed) -> Iterator[int]:
    """Records a piece each time that it is asked for the next one."""
    return (record(claimed, index) for index in range(len(EDGES) - 1))


def record(claimed: Claim, index: int) -> int:
    progress.record_segment(
        claimed,
        index=index,
        key=f"renders/piece-{index}.ts",
        num_bytes=1,
        frames=EDGES[index + 1] - EDGES[index],
        state_key="",
        render_seconds=1,
        progress=10,
    )
    return index


def preview_url(caller, project: dict[str, Any]) -> str | None:
    shown = caller.get(project["urls"]["self"]).json()
    status = caller.get(project["urls"]["status"]).json()
    assert shown["preview_url"] == status["preview_url"]
    return shown["preview_url"]


def playlist(client: APIClient, url: str | None) -> list[str]:
    response = client.get(url)
    assert response.status_code == 200, response.content
    return response.content.decode().splitlines()


def test_there_is_none_before_the_first_piece(alice, project, pieces):
    assert preview_url(alice, project) is None

    next(pieces)

    url = preview_url(alice, project)
    assert url.startswith("http://testserver/api/v1/previews/")
    assert url.endswith("/film.m3u8")
    next(pieces)
    assert preview_url(alice, project) == url


def test_it_grows_with_the_film(alice, project, claimed, pieces, anonymous):
    next(pieces)
    url = preview_url(alice, project)

    assert playlist(anonymous, url) == [
        "#EXTM3U",
        "#EXT-X-VERSION:3",
        "#EXT-X-TARGETDURATION:4",
        "#EXT-X-PLAYLIST-TYPE:EVENT",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        "#EXT-X-START:TIME-OFFSET=0",
        "#EXTINF:3.24,",
        media.link("renders/piece-0.ts"),
    ]
    next(pieces)
    next(pieces)
    assert playlist(anonymous, url)[6:] == [
        "#EXTINF:3.24,", media.link("renders/piece-0.ts"),
        "#EXTINF:3.00,", media.link("renders/piece-1.ts"),
        "#EXTINF:0.48,", media.link("renders/piece-2.ts"),
    ]  # fmt: skip
    transitions.finish(claimed, video_key="renders/film.mp4", poster_key="renders/poster.jpg", duration_seconds=6.72)
    assert playlist(anonymous, url)[-1] == "#EXT-X-ENDLIST"


def test_what_was_said_once_is_never_taken_back(alice, project, claimed, pieces, anonymous):
    """RFC 8216, 6.2.1: an EVENT playlist may only be added to, and its target duration is constant."""
    next(pieces)
    url = preview_url(alice, project)
    seen = [playlist(anonymous, url)]
    for _ in pieces:
        seen.append(playlist(anonymous, url))
    transitions.finish(claimed, video_key="renders/film.mp4", poster_key="renders/poster.jpg", duration_seconds=6.72)
    seen.append(playlist(anonymous, url))

    assert all(later[: len(earlier)] == earlier for earlier, later in zip(seen, seen[1:], strict=False))


@pytest.mark.parametrize("ends", ["canceled", "failed"])
def test_what_nobody_pays_for_is_not_shown(alice, project, claimed, pieces, anonymous, ends):
    next(pieces)
    url = preview_url(alice, project)
    if ends == "canceled":
        alice.post(project["urls"]["cancel"])
        assert "#EXT-X-ENDLIST" not in playlist(anonymous, url)
        transitions.cancel(claimed)
    else:
        transitions.fail(claimed, ServiceError("internal", "A fault."))

    assert anonymous.get(url).status_code == 404
    assert preview_url(alice, project) is None


def test_a_player_on_any_page_may_read_it_and_keeps_no_copy(alice, anonymous):
    url = preview_url(alice, finished_project(alice))

    for accept in ("*/*", "application/vnd.apple.mpegurl", "application/x-mpegURL, video/mp2t", "nonsense"):
        response = anonymous.get(url, headers={"Accept": accept, "Origin": "https://elsewhere.example"})
        assert (response.status_code, response["Content-Type"]) == (200, "application/vnd.apple.mpegurl")
        assert response["Access-Control-Allow-Origin"] == "*"
        assert response["Cache-Control"] == "private, no-store"
    assert anonymous.head(url).status_code == 200


def test_its_address_begins_with_the_public_one(alice, settings):
    settings.PUBLIC_URL = "https://avatars.example"

    assert preview_url(alice, finished_project(alice)).startswith("https://avatars.example/api/v1/previews/")


def test_it_leads_to_the_pieces_wherever_they_are_stored(alice, anonymous, settings):
    url = preview_url(alice, finished_project(alice))
    settings.MEDIA_URL = "https://cdn.example/"

    assert playlist(anonymous, url)[7].startswith("https://cdn.example/renders/segment.mp4?")


def test_it_shows_the_latest_take(alice):
    project = finished_project(alice)
    draft = preview_url(alice, project)

    alice.post(project["urls"]["finalize"])

    assert preview_url(alice, project) is None
    assert alice.get(draft).status_code == 200


def test_it_is_gone_with_the_project(alice, anonymous):
    project = finished_project(alice)
    url = preview_url(alice, project)
    alice.delete(project["urls"]["self"])

    response = anonymous.get(url)

    assert (response.status_code, response["Content-Type"]) == (404, "application/problem+json")
    assert response["Access-Control-Allow-Origin"] == "*"


def test_nobody_can_make_an_address(alice, project, pieces, anonymous):
    next(pieces)
    render = latest_render(project["id"])
    good = preview_path(render.pk)
    signed = good.split("/")[-2]
    other_salt = Signer(salt="another", sep=".").sign(render.pk.hex)

    for name in (
        render.pk,
        render.pk.hex,
        f"{render.pk.hex}.",
        f"{uuid4().hex}.{signed[33:]}",
        signed[:-1],
        other_salt,
    ):
        response = anonymous.get(good.replace(signed, str(name)))
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert anonymous.get(good).status_code == 200


def test_there_is_none_of_a_render_that_is_not_there(anonymous, db):
    assert anonymous.get(preview_path(uuid4())).status_code == 404


def test_it_can_only_be_read(alice, anonymous):
    assert anonymous.post(preview_url(alice, finished_project(alice))).status_code == 405


def test_it_asks_the_database_twice_however_long_the_film_is(alice, project, pieces, django_assert_num_queries):
    next(pieces)
    url = preview_url(alice, project)

    for _ in pieces:
        with django_assert_num_queries(2):
            alice.get(url)


def test_the_lists_projects_have_it_too(alice):
    project = finished_project(alice)

    [listed] = alice.get(PROJECTS).json()

    assert listed["preview_url"] == preview_url(alice, project)


def test_a_suspended_tenants_film_is_not_watched(alice, charlie, claimed, pieces, anonymous, project):
    next(pieces)
    url = preview_url(alice, project)
    for moment, status in ((timezone.now(), 404), (None, 200)):
        type(alice.tenant).objects.filter(pk=alice.tenant.pk).update(suspended_at=moment)
        assert anonymous.get(url).status_code == status
    type(charlie.tenant).objects.filter(pk=charlie.tenant.pk).update(suspended_at=timezone.now())
    assert anonymous.get(url).status_code == 200
