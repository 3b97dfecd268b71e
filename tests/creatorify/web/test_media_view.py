import asyncio
import errno
import os
import uuid
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode

import pytest
from django.apps import apps
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.handlers.wsgi import WSGIHandler
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from creatorify.asgi_middleware.django_requests import DjangoRequests
from creatorify.config import media_storages
from creatorify.web import media_view
from render.storage import links
from render.storage.private_folder import private_folder

FILM = bytes(range(256)) * 4000  # more than one piece


def link(name: str) -> str:
    return default_storage.url(name)


@pytest.fixture
def film(settings) -> Path:
    path = Path(settings.MEDIA_ROOT) / "renders" / "film.mp4"
    path.parent.mkdir(parents=True)
    path.write_bytes(FILM)
    return path


def body(response) -> bytes:
    return b"".join(response.streaming_content)


def test_it_serves_a_file_whole(client, film):
    response = client.get(link("renders/film.mp4"))

    assert (response.status_code, response["Content-Type"], response["Content-Length"]) == (
        200, "video/mp4", str(len(FILM)),
    )  # fmt: skip
    assert body(response) == FILM
    assert response["Accept-Ranges"] == "bytes"
    assert response["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-1", 0, 2),
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, len(FILM)),
        ("bytes=500000-", 500_000, len(FILM)),
        ("bytes=-100", len(FILM) - 100, len(FILM)),
        ("bytes=-99999999", 0, len(FILM)),
        ("bytes=10-99999999", 10, len(FILM)),
        (f"bytes={len(FILM) - 1}-", len(FILM) - 1, len(FILM)),
    ],
)
def test_it_serves_a_range(client, film, asked, start, stop):
    response = client.get(link("renders/film.mp4"), headers={"Range": asked})

    assert (response.status_code, response["Content-Range"]) == (206, f"bytes {start}-{stop - 1}/{len(FILM)}")
    assert response["Content-Length"] == str(stop - start)
    assert body(response) == FILM[start:stop]


@pytest.mark.parametrize("asked", [f"bytes={len(FILM)}-", "bytes=99999999-", "bytes=-0"])
def test_it_refuses_a_range_behind_the_end(client, film, asked):
    response = client.get(link("renders/film.mp4"), headers={"Range": asked})

    assert (response.status_code, response["Content-Range"]) == (416, f"bytes */{len(FILM)}")


@pytest.mark.parametrize(
    "asked", ["bytes=5-2", "bytes=0-1,5-6", "bytes=-", "bytes=a-b", "lines=0-1", "bytes=" + "9" * 40 + "-"]
)
def test_it_ignores_what_is_no_single_range(client, film, asked):
    response = client.get(link("renders/film.mp4"), headers={"Range": asked})

    assert response.status_code == 200
    assert len(body(response)) == len(FILM)


def test_it_sends_a_range_only_of_the_file_that_the_client_knows(client, film):
    known = client.get(link("renders/film.mp4"))

    def status(condition):
        headers = {"Range": "bytes=0-1", "If-Range": condition}
        return client.get(link("renders/film.mp4"), headers=headers).status_code

    assert status(known["ETag"]) == status(known["Last-Modified"]) == 206
    assert status('"other"') == status("Thu, 01 Jan 1970 00:00:00 GMT") == status("nonsense") == 200
    film.write_bytes(b"another film")
    assert status(known["ETag"]) == 200


def test_it_answers_304_to_who_has_the_file(client, film):
    known = client.get(link("renders/film.mp4"))

    by_tag = client.get(link("renders/film.mp4"), headers={"If-None-Match": known["ETag"]})
    by_date = client.get(link("renders/film.mp4"), headers={"If-Modified-Since": known["Last-Modified"]})

    assert by_tag.status_code == by_date.status_code == 304
    assert by_tag["ETag"] == known["ETag"]


def test_head_has_the_headers_alone(client, film):
    response = client.head(link("renders/film.mp4"), headers={"Range": "bytes=0-1"})

    assert (response.status_code, response["Content-Length"]) == (200, str(len(FILM)))
    assert body(response) == b""


@pytest.mark.parametrize(
    "path", ["renders", "renders/none.mp4", "../secret", "renders/../../secret", "a" * 5000, "a\0b", "/etc/passwd"]
)
def test_even_a_signed_link_shows_no_folder_and_nothing_outside(client, film, path):
    (film.parent.parent.parent / "secret").write_text("secret")
    query = link("renders/film.mp4").partition("?")[2]
    signed_as = link(path).partition("?")[2] if not path.startswith("/") else query

    assert client.get(f"/media/{quote(path)}?{signed_as}").status_code in (403, 404)
    assert client.get(f"/media/{quote(path)}").status_code == 403


def test_without_a_genuine_signature_nothing_is_served(client, film):
    genuine = link("renders/film.mp4")
    path, _, query = genuine.partition("?")
    given = dict(parse_qsl(query))

    for changes in (
        {"expires": str(int(given["expires"]) + 1)},
        {"expires": ""},
        {"expires": "soon"},
        {"signature": given["signature"][:-1]},
        {"signature": ""},
        {"signature": "\xe4"},
    ):
        assert client.get(f"{path}?{urlencode({**given, **changes})}").status_code == 403, changes
    film.with_name("other.mp4").write_bytes(FILM)
    refused = client.get(f"/media/renders/other.mp4?{query}")
    assert (refused.status_code, refused["Content-Type"]) == (403, "text/plain; charset=utf-8")
    assert b"it has a new link" in refused.content
    assert client.get(path).status_code == 403
    assert client.get(genuine).status_code == 200


def test_a_link_ends(client, film, settings, monkeypatch):
    settings.MEDIA_LINK_SECONDS = 3600
    genuine = link("renders/film.mp4")
    now = links.time.time()

    for passed, status in ((0, 200), (1700, 200), (3601, 403)):
        monkeypatch.setattr(links.time, "time", lambda passed=passed: now + passed)
        assert client.get(genuine).status_code == status


def test_a_piece_of_a_film_is_video_wherever_it_is_played(client, film):
    film.with_name("segment.ts").write_bytes(FILM)

    response = client.get(link("renders/segment.ts"), headers={"Origin": "https://elsewhere.example"})

    assert response["Content-Type"] == "video/mp2t"
    assert response["Content-Disposition"].startswith("inline")
    assert response["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in response


@pytest.mark.parametrize("name", ["page.html", "drawing.svg", "script.js", "unknown"])
def test_it_never_shows_what_could_run_on_this_site(client, film, name):
    film.with_name(name).write_text("<script>alert(1)</script>")

    assert client.get(link(f"renders/{name}"))["Content-Disposition"] == "attachment"


def test_an_empty_file_is_empty(client, film):
    os.truncate(film, 0)

    assert body(client.get(link("renders/film.mp4"))) == b""
    assert client.get(link("renders/film.mp4"), headers={"Range": "bytes=0-"}).status_code == 416


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE, errno.EACCES])
@pytest.mark.parametrize("at", ["open", "fstat"])
def test_a_file_that_cannot_be_read_now_may_be_asked_for_again(client, film, monkeypatch, caplog, code, at):
    def fail(*arguments):
        raise OSError(code, os.strerror(code))

    url = link("renders/film.mp4")
    with monkeypatch.context() as failing:
        failing.setattr(*{"open": (Path, "open"), "fstat": (media_view.os, "fstat")}[at], fail)
        response = client.get(url)

    assert (response.status_code, response["Content-Type"]) == (503, "application/problem+json")
    assert int(response["Retry-After"]) > 0
    assert (response.json()["code"], response.json()["retryable"]) == ("unavailable", True)
    assert os.strerror(code) in caplog.text
    assert client.get(url).status_code == 200


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_while_the_database_is_away_a_file_may_be_asked_for_again(client, film, monkeypatch, error):
    url = default_storage.url(f"{uuid.uuid4()}/film.mp4")

    def away(*arguments, **named):
        raise error("The server closed the connection.")

    monkeypatch.setattr(media_view.Tenant.objects, "filter", away)

    assert client.get(url).status_code == 503


def test_it_is_read_only(client, film):
    assert client.post(link("renders/film.mp4")).status_code == 405


def test_it_serves_nothing_when_the_media_are_stored_elsewhere(client, film, settings):
    genuine = link("renders/film.mp4")
    settings.STORAGES = {
        **settings.STORAGES,
        "default": media_storages.s3(
            "other", endpoint_url="http://127.0.0.1:9", region="", access_key_id="", secret_access_key=""
        ),
    }

    gone = client.get(genuine)
    assert (gone.status_code, gone["Content-Type"]) == (404, "text/plain; charset=utf-8")


def test_the_web_process_sends_it_piece_by_piece(film):
    path, _, query = link("renders/film.mp4").partition("?")
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": query.encode(),
        "http_version": "1.1",
        "headers": [(b"host", b"localhost"), (b"range", b"bytes=1000-900000")],
    }
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    asyncio.run(DjangoRequests(WSGIHandler(), threads=1)(scope, receive, send))

    [start, *pieces] = sent
    assert start["status"] == 206 and len(pieces) > 3
    assert b"".join(piece["body"] for piece in pieces) == FILM[1000:900_001]


@pytest.mark.parametrize("folder", ["{}", "work/{}", "{}/renders/x/a1"])
def test_a_suspended_tenants_links_stop(client, alice, charlie, settings, folder):
    names = {}
    for caller in (alice, charlie):
        name = f"{folder.format(caller.tenant.pk)}/film.mp4"
        path = Path(settings.MEDIA_ROOT) / name
        path.parent.mkdir(parents=True)
        path.write_bytes(FILM)
        names[caller] = default_storage.url(name)
    suspended = type(alice.tenant).objects.filter(pk=alice.tenant.pk)

    for moment, status in ((timezone.now(), 403), (None, 200)):
        suspended.update(suspended_at=moment)
        assert client.get(names[alice]).status_code == status
        assert client.get(names[alice], headers={"Range": "bytes=0-1"}).status_code == (206 if status == 200 else 403)
        assert client.get(names[charlie]).status_code == 200


def test_staff_look_at_what_a_suspended_tenant_has_for_an_hour(client, alice, settings, monkeypatch):
    name = f"{alice.tenant.pk}/film.mp4"
    path = Path(settings.MEDIA_ROOT) / name
    path.parent.mkdir(parents=True)
    path.write_bytes(FILM)
    type(alice.tenant).objects.update(suspended_at=timezone.now())
    looked = default_storage.staff_url(name)
    tenants = default_storage.url(name).partition("signature=")[2]

    assert client.get(looked).status_code == 200
    assert client.get(looked.replace("film.mp4", "other.mp4")).status_code == 403
    assert client.get(looked.replace("staff_signature", "signature")).status_code == 403
    assert client.get(f"{looked.partition('staff_signature=')[0]}staff_signature={tenants}").status_code == 403
    now = links.time.time()
    monkeypatch.setattr(links.time, "time", lambda: now + 3601)
    assert client.get(looked).status_code == 403


def test_what_a_browser_may_do_with_a_file_is_to_show_it(client, film):
    answers = [client.get(link("renders/film.mp4")), client.get("/media/renders/film.mp4")]

    for answer in answers:
        policy = answer["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "sandbox" in policy and "script-src" not in policy
        assert answer["Cache-Control"] == "private, no-cache"


def test_nobody_else_on_the_machine_reads_the_files(settings):
    with_umask = os.umask(0)
    try:
        default_storage.save("tenant/renders/film.mp4", ContentFile(FILM))
    finally:
        os.umask(with_umask)

    root = Path(settings.MEDIA_ROOT)
    modes = {path.relative_to(root).as_posix(): path.stat().st_mode & 0o777 for path in (root, *root.rglob("*"))}
    folders = dict.fromkeys((".", "incoming", "tenant", "tenant/renders"), 0o700)
    assert modes == {**folders, "tenant/renders/film.mp4": 0o600}


def test_folders_that_everybody_could_read_are_closed(tmp_path):
    old = tmp_path / "old"
    old.mkdir(mode=0o755)
    old.chmod(0o755)

    for folder in (old, tmp_path / "new", tmp_path / "deep" / "new"):
        assert private_folder(folder).stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "deep").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["MEDIA_ROOT", "WORK_DIR"])
def test_what_was_made_before_is_closed_when_a_process_starts(settings, name):
    folder = Path(getattr(settings, name))
    folder.mkdir()
    folder.chmod(0o755)

    apps.get_app_config("creatorify").ready()

    assert folder.stat().st_mode & 0o777 == 0o700
