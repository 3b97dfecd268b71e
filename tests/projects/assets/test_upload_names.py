"""What browsers say of a file that is to be sent: its name, its type; and that a page of any site may send it."""

import csv
import io

import pytest

from projects.models import Asset
from projects.tasks import tend_assets
from tests.accounts.api.test_names import FROM_MACHINES
from tests.projects.assets.test_uploads import ASSETS, announce, send, upload
from tests.projects.steps import NEW, PROJECTS
from tests.render.media_makers import picture, voice

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("name", FROM_MACHINES, ids=ascii)
def test_a_file_keeps_the_name_that_a_machine_gave_it(alice, name) -> None:
    answer = announce(alice, b"x", filename=name, content_type="image/png", with_hash=False)

    assert answer.status_code == 201, answer.content
    assert answer.json()["asset"]["filename"] == name.strip()
    assert Asset.objects.get().key.endswith((".png", "/" + str(Asset.objects.get().pk)))


@pytest.mark.parametrize("name", FROM_MACHINES[:8], ids=ascii)
def test_metadata_and_labels_may_have_such_names(alice, name) -> None:
    fields = {"title": name, "user_id": name, "metadata": {name: name}, name: 1}
    made = alice.post(PROJECTS, {**NEW, **fields}, format="json")

    assert made.status_code == 201, made.content
    project = alice.get(f"{PROJECTS}/{made.json()['id']}").json()
    assert (project["metadata"], project["title"], project["user_id"]) == ({name: name}, name.strip(), name.strip())
    assert [warning["param"] for warning in project["warnings"]] == [name]
    rows = alice.get("/api/v1/usage/entries?as=csv")
    lines = list(csv.DictReader(io.StringIO(b"".join(rows.streaming_content).decode())))
    assert [line["user_id"] for line in lines] == [name.strip()]


@pytest.mark.parametrize("name", ["a\nb", "a\u2028b", "a\x1bb"], ids=ascii)
def test_what_ends_a_line_is_refused(alice, name) -> None:
    for refused in (
        announce(alice, b"x", filename=name),
        alice.post(PROJECTS, {**NEW, "metadata": {name: "x"}}, format="json"),
    ):
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid")
        assert "no control characters" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("said", "filename", "sent_as"),
    [
        ("audio/webm;codecs=opus", "voice.webm", "audio/webm"),
        ("video/webm;codecs=vp8,opus", "voice.webm", "video/webm"),
        ('audio/mp4; codecs="mp4a.40.2"', "voice.m4a", "audio/mp4"),
        ("AUDIO/WAV", "voice.wav", "audio/wav"),
        (" Image/PNG ; q=1", "me.png", "image/png"),
        ("application/ogg", "voice.ogg", "audio/ogg"),
        ("application/octet-stream", "voice.webm", "video/webm"),
        ("binary/octet-stream", "IMG_1.HEIC", "image/heic"),
        ("", "me.JPG", "image/jpeg"),
        (None, "me.jpg", "image/jpeg"),
        ("text/plain", "voice.mp3", "audio/mpeg"),
        ("text/vnd.trolltech.linguist", "film.ts", "video/mp2t"),
        ("undefined", "film", "application/octet-stream"),
        ("", "page.html", "application/octet-stream"),
        ("image/svg+xml", "drawing.svg", "application/octet-stream"),
        ("application/x-sh", "run.sh", "application/octet-stream"),
        ("application/pdf", "me.pdf", "application/octet-stream"),
        ("application/pdf", "me.png", "image/png"),
        ("image/" + "x" * 100, "me", "application/octet-stream"),
    ],
)
def test_a_type_is_not_believed(alice, said, filename, sent_as) -> None:
    answer = announce(alice, b"x", content_type=said, filename=filename, with_hash=False)

    assert answer.status_code == 201, answer.content
    body = answer.json()
    assert (body["headers"], body["asset"]["content_type"]) == ({"Content-Type": sent_as}, sent_as)
    suffix = Asset.objects.get().key.partition(".")[2]
    assert suffix not in ("html", "svg", "sh", "pdf") and (
        suffix != "" or sent_as in ("application/octet-stream", "audio/webm")
    )


def test_a_type_need_not_be_said(alice) -> None:
    body = {"filename": "me.png", "bytes": 10}

    assert alice.post("/api/v1/uploads", body, format="json").json()["headers"] == {"Content-Type": "image/png"}


@pytest.mark.parametrize(
    "said", ["text/html", "TEXT/HTML; charset=utf-8", "image/png\r\nX: y", "image/png\n", "x" * 300]
)
def test_the_type_of_a_page_and_one_that_breaks_a_header_are_refused(alice, said) -> None:
    refused = announce(alice, b"x", content_type=said, filename="me.png")

    assert (refused.status_code, refused.json()["param"]) == (422, "content_type")


def test_what_was_found_is_what_is_served(alice) -> None:
    for content, kind in [
        (picture("GIF"), "image/gif"),
        (picture("BMP"), "image/bmp"),
        (picture("TIFF"), "image/tiff"),
    ]:
        asset = upload(alice, content, content_type="", filename="file")
        assert (asset["state"], asset["kind"], asset["content_type"]) == ("ready", "image", kind)
        served = alice.get(asset["url"])
        assert (served["Content-Type"], served["X-Content-Type-Options"]) == (kind, "nosniff")
    sound = upload(alice, voice("au", "pcm_s16be"), content_type="", filename="voice")
    assert (sound["kind"], sound["content_type"]) == ("audio", "audio/basic")


def test_an_upload_that_is_no_media_says_what_it_is(alice) -> None:
    body = announce(alice, page := b"<html><body>Sign in</body></html>", filename="me.png", content_type="").json()
    assert send(alice, body, page).status_code == 200
    tend_assets()

    error = alice.get(f"{ASSETS}/{body['upload_id']}").json()["error"]
    assert error["code"] == "media_invalid"
    assert error["detail"].startswith("This is a web page (HTML), not an image, a video or audio. Send")


def test_the_url_of_an_upload_needs_no_key_and_counts_once(alice, anonymous) -> None:
    content = picture("PNG")
    url = announce(alice, content, filename="me.png", content_type="image/png").json()["url"]
    asked = anonymous.options(
        url,
        HTTP_ORIGIN="https://shop.example",
        HTTP_ACCESS_CONTROL_REQUEST_METHOD="PUT",
        HTTP_ACCESS_CONTROL_REQUEST_HEADERS="content-type",
    )
    assert (asked.status_code, asked.content) == (204, b"")

    answers = [
        asked,
        anonymous.generic("PUT", url, content[:-1]),
        anonymous.generic("PUT", url, content),
        anonymous.generic("PUT", url, content),
        anonymous.generic("PUT", url.replace("/uploads/", "/uploads/x"), content),
        anonymous.get(url),
    ]

    assert [answer.status_code for answer in answers] == [204, 422, 200, 409, 404, 405]


def test_errors_of_media_can_be_read_by_a_page_as_well(anonymous, db) -> None:
    refused = anonymous.get("/media/x/y.png", HTTP_ORIGIN="https://shop.example")

    assert (refused.status_code, refused["Access-Control-Allow-Origin"]) == (403, "*")
