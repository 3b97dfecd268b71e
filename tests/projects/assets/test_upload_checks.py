"""What is served is what was checked, under the type that it was found to be; and how much may be announced."""

from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from django.db.models import F
from django.utils import timezone

from creatorify.config import media_storages
from projects.assets import discards
from projects.models import Asset, DiscardedObject
from projects.tasks import delete_media, tend_assets
from render.media.reading.opening import FORMATS
from render.storage import content_types, media
from tests.projects.assets.test_uploads import ASSETS, UPLOADS, announce, send, stored
from tests.render.media_makers import film, picture, voice
from tests.servers.cloudinary import running_cloudinary
from tests.servers.s3 import running_s3

pytestmark = pytest.mark.django_db

PAGE = b"<!doctype html><script>alert(document.cookie)</script>"


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    with running_s3() as settings:
        yield settings


@pytest.fixture(params=["s3", "cloudinary"])
def direct(request, settings) -> Iterator[str]:
    """A storage to which customers send their files themselves."""
    if request.param == "cloudinary":
        with running_cloudinary() as cloud:
            settings.STORAGES = {**settings.STORAGES, **cloud.storages}
            yield request.param
        return
    s3 = request.getfixturevalue("s3")
    entry = media_storages.s3(
        s3["S3_BUCKET"],
        endpoint_url=s3["S3_ENDPOINT_URL"],
        region=s3["S3_REGION"],
        access_key_id=s3["S3_ACCESS_KEY_ID"],
        secret_access_key=s3["S3_SECRET_ACCESS_KEY"],
    )
    settings.STORAGES = {**settings.STORAGES, "default": entry, "work": entry}
    yield request.param


def send_directly(body: dict, content: bytes) -> None:
    if body["method"] == "PUT":
        httpx.put(body["url"], content=content, headers=body["headers"]).raise_for_status()
    else:
        httpx.post(body["url"], data=body["fields"], files={"file": content}).raise_for_status()


def jpeg(caller, content: bytes, **changes) -> dict:
    options = {"filename": "me.jpg", "content_type": "image/jpeg", "with_hash": False, **changes}
    return announce(caller, content, **options).json()


def complete(caller, body: dict) -> dict:
    answer = caller.post(f"{UPLOADS}/{body['upload_id']}/complete")
    assert answer.status_code == 202, answer.content
    return answer.json()["asset"]


def shown(caller, body: dict) -> dict:
    return caller.get(f"{ASSETS}/{body['upload_id']}").json()


def pass_time(seconds: float) -> None:
    past = timedelta(seconds=seconds)
    DiscardedObject.objects.update(delete_after=F("delete_after") - past)


def test_a_link_that_is_used_again_changes_nothing_that_was_checked(alice, charlie, direct) -> None:
    content = picture("JPEG")
    page = PAGE.ljust(len(content))
    body, theirs = jpeg(alice, content), jpeg(charlie, content)
    incoming = Asset.objects.get(pk=body["upload_id"]).key
    send_directly(theirs, content)
    complete(charlie, theirs)
    send_directly(body, content)
    assert complete(alice, body)["state"] == "waiting"
    tend_assets()
    ready = shown(alice, body)
    assert ready["state"] == "ready"

    send_directly(body, page)  # The link is good for an hour.

    assert complete(alice, body)["state"] == "ready"
    tend_assets()
    delete_media()
    assert httpx.get(shown(alice, body)["url"]).content == content
    assert media.storage_of(incoming).exists(incoming)
    pass_time(3600 + discards.LAST_BODY.total_seconds())
    delete_media()
    assert not media.storage_of(incoming).exists(incoming)
    assert httpx.get(shown(alice, body)["url"]).content == content
    assert httpx.get(shown(charlie, theirs)["url"]).content == content
    assert not DiscardedObject.objects.exists()


def test_a_link_that_is_used_again_while_it_is_checked_changes_nothing(alice, charlie, direct, monkeypatch) -> None:
    content = picture("JPEG")
    page = PAGE.ljust(len(content))
    body, theirs = jpeg(alice, content), jpeg(charlie, content)
    send_directly(body, content)
    complete(alice, body)
    real = media.download

    def bring_and_swap(key, path):
        found = real(key, path)
        send_directly(body, page)
        return found

    monkeypatch.setattr(media, "download", bring_and_swap)
    tend_assets()

    assert shown(alice, body)["state"] == "ready"
    assert httpx.get(shown(alice, body)["url"]).content == content
    assert shown(charlie, theirs)["waiting_for"] == "file"


def test_a_file_that_was_never_sent_is_missing(alice, charlie, direct) -> None:
    content = picture("JPEG")
    body, theirs = jpeg(alice, content), jpeg(charlie, content)
    send_directly(theirs, content)

    complete(alice, body)
    tend_assets()

    missing = shown(alice, body)
    assert (missing["state"], missing["error"]["code"], missing["waiting_for"]) == (
        "errored",
        "upload_missing",
        None,
    )
    assert complete(alice, body)["state"] == "errored"
    send_directly(body, content)  # too late; and it does not stay
    pass_time(3600 + discards.LAST_BODY.total_seconds())
    delete_media()
    key = Asset.objects.get(pk=body["upload_id"]).key
    assert not media.storage_of(key).exists(key)
    complete(charlie, theirs)
    tend_assets()
    assert shown(charlie, theirs)["state"] == "ready"


def test_what_is_larger_than_announced_is_not_fetched(alice, charlie, settings, monkeypatch) -> None:
    with running_cloudinary() as cloud:  # whose signed uploads know no size
        settings.STORAGES = {**settings.STORAGES, **cloud.storages}
        body, theirs = jpeg(alice, b"x" * 10), jpeg(charlie, b"x" * 10)
        send_directly(body, b"x" * 100_000)
        complete(alice, body)
        monkeypatch.setattr(media, "download", lambda *arguments: pytest.fail("It was fetched."))
        tend_assets()

    assert shown(alice, body)["error"]["code"] == "size_mismatch"
    assert shown(charlie, theirs)["state"] == "waiting"


def test_complete_of_what_this_service_has_not_received_is_refused_and_it_can_still_be_sent(alice, charlie) -> None:
    content = picture("JPEG")
    body, theirs = jpeg(alice, content), jpeg(charlie, content)

    early = alice.post(f"{UPLOADS}/{body['upload_id']}/complete")

    assert (early.status_code, early.json()["code"]) == (409, "invalid_state")
    assert shown(alice, body)["waiting_for"] == "file"
    assert send(alice, body, content).status_code == 200
    assert complete(alice, body)["waiting_for"] == "check"
    tend_assets()
    assert shown(alice, body)["state"] == "ready"
    assert shown(charlie, theirs)["state"] == "waiting"


@pytest.mark.parametrize(
    ("content", "announced", "filename", "served"),
    [
        (picture("PNG"), "image/jpeg", "me.jpg", "image/png"),
        (picture("JPEG"), "image/png", "me.png", "image/jpeg"),
        (picture("WEBP"), "image/svg+xml", "me.svg", "image/webp"),
        (picture("JPEG"), "image/x-icon", "page.html", "image/jpeg"),
        (film("mp4", "mpeg4"), "image/png", "me.png", "video/mp4"),
        (film("webm", "libvpx-vp9"), "video/mp4", "me.mp4", "video/webm"),
        (film("matroska", "mpeg4"), "video/webm", "me.webm", "video/x-matroska"),
        (voice("wav", "pcm_s16le"), "video/mp4", "me.mp4", "audio/wav"),
        (voice("mp3", "libmp3lame"), "audio/wav", "me.wav", "audio/mpeg"),
        (voice("mp4", "aac"), "audio/xml", "me.xml", "audio/mp4"),
        (voice("ogg", "libopus", rate=48_000), "audio/mpeg", "me", "audio/ogg"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_it_is_served_under_the_type_that_it_was_found_to_be(
    alice, charlie, content, announced, filename, served
) -> None:
    theirs = jpeg(charlie, content)
    body = announce(alice, content, content_type=announced, filename=filename).json()
    assert send(alice, body, content).status_code == 200
    tend_assets()

    asset = shown(alice, body)
    assert (asset["state"], asset["content_type"]) == ("ready", served), asset
    answer = alice.get(asset["url"])
    assert (answer["Content-Type"], answer["X-Content-Type-Options"]) == (served, "nosniff")
    assert b"".join(answer) == content
    assert shown(charlie, theirs)["state"] == "waiting"


def test_a_bucket_is_told_the_type_as_well(alice, charlie, direct) -> None:
    if direct == "cloudinary":
        pytest.skip("Cloudinary finds out itself")
    content = picture("PNG")
    body, theirs = jpeg(alice, content), jpeg(charlie, content)
    send_directly(body, content)
    complete(alice, body)
    tend_assets()

    assert httpx.get(shown(alice, body)["url"]).headers["content-type"] == "image/png"
    assert shown(charlie, theirs)["state"] == "waiting"


def test_every_format_that_is_read_has_a_type_of_its_own_or_is_offered_for_download() -> None:
    unknown = {"caf", "w64"}  # No browser plays them.
    for name in set(FORMATS.split(",")) - {"mp4", "m4a", "3gp", "3g2", "mj2", "webm"} - unknown:
        suffixes = [content_types.suffix_of(kind, {"format": name, "codec": "x"}) for kind in ("video", "audio")]
        types = [content_types.content_type_of(f"x{suffix}") for suffix in suffixes if suffix]
        assert types and all(kind.startswith(("video/", "audio/")) for kind in types), name
    for name in unknown:
        assert content_types.suffix_of("audio", {"format": name, "codec": "x"}) == ""
    assert content_types.content_type_of("x") == content_types.UNKNOWN


def test_a_tenant_announces_so_many_files_and_no_more(alice, bob, charlie, settings) -> None:
    settings.MAX_UNSENT_UPLOADS = 2
    content = picture("JPEG")
    first, _ = [jpeg(caller, content) for caller in (alice, bob)]

    refused = announce(alice, content)
    assert (refused.status_code, refused.json()["code"], refused.json()["retryable"]) == (429, "too_many_uploads", True)
    assert int(refused["Retry-After"]) > 0
    assert "2 uploads" in refused.json()["detail"] and "at most 2" in refused.json()["detail"]
    assert announce(charlie, content).status_code == 201  # A stranger has places of its own.

    assert send(alice, first, content).status_code == 200
    second = announce(alice, content, with_hash=False)
    assert second.status_code == 201
    assert announce(alice, content).status_code == 429
    assert alice.delete(f"{ASSETS}/{second.json()['upload_id']}").status_code == 200
    assert announce(alice, content).status_code == 201
    Asset.objects.filter(tenant=alice.tenant).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert announce(alice, content[:-1]).status_code == 201


def test_a_tenant_announces_so_many_bytes_and_no_more(alice, charlie, settings) -> None:
    settings.MAX_UNSENT_UPLOAD_BYTES = 1000
    assert announce(alice, b"x", bytes=600).status_code == 201

    refused = announce(alice, b"y", bytes=401)
    assert (refused.status_code, refused.json()["code"], refused.json()["param"]) == (429, "too_many_uploads", "bytes")
    assert "600 bytes" in refused.json()["detail"] and "1000 bytes" in refused.json()["detail"]
    assert announce(alice, b"y", bytes=400).status_code == 201
    assert announce(charlie, b"y", bytes=1000).status_code == 201


def test_what_is_announced_counts_as_stored(alice, charlie, plan) -> None:
    plan.max_stored_bytes = 1000
    plan.save()
    first = announce(alice, b"x", bytes=900).json()

    assert announce(alice, b"y", bytes=101).json()["code"] == "storage_quota_exceeded"
    assert announce(charlie, b"y", bytes=900).status_code == 201
    alice.delete(f"{ASSETS}/{first['upload_id']}")
    assert announce(alice, b"y", bytes=1000).status_code == 201
    assert stored() == []
