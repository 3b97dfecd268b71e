"""Uploads and assets: announce, send, check, use, delete; on files of this machine and on Cloudinary's protocol."""

import errno
import hashlib
import io
from pathlib import Path

import httpx
import pytest
from django.core.files.storage import default_storage
from django.utils import timezone
from PIL import Image

from accounts.models import ApiKey, UsageEntry
from creatorify.demo.media import write_portrait
from projects.assets import claims as asset_claims
from projects.assets import verification
from projects.models import Asset
from projects.tasks import delete_media, tend_assets
from render.machine import disk_room, work_folder
from render.models import Node, Render, State
from render.pipeline import media_inspection, runner
from render.storage.failures import Reason, StorageFailure
from tests.prices import full_prices
from tests.projects.steps import NEW, PROJECTS, claim, create
from tests.render.conftest import write_voice
from tests.servers.cloudinary import running_cloudinary

UPLOADS, ASSETS = "/api/v1/uploads", "/api/v1/assets"
NOBODYS = "11111111-2222-4333-8444-555555555555"

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="session")
def portrait(tmp_path_factory) -> bytes:
    return write_portrait(tmp_path_factory.mktemp("portrait") / "portrait.jpg").read_bytes()


@pytest.fixture(scope="session")
def voice(tmp_path_factory) -> bytes:
    return write_voice(tmp_path_factory.mktemp("voice") / "voice.wav", 4).read_bytes()


def announce(caller, content: bytes, *, with_hash: bool = True, **changes):
    body = {"filename": "voice.wav", "content_type": "audio/wav", "bytes": len(content)}
    if with_hash:
        body["sha256"] = hashlib.sha256(content).hexdigest()
    return caller.post(UPLOADS, {**body, **changes}, format="json")


def send(caller, upload: dict, content: bytes, **headers):
    return caller.generic("PUT", upload["url"], content, **{**upload["headers"], **headers})


def upload(caller, content: bytes, **changes) -> dict:
    """A file on its whole way. -> the asset as the API shows it"""
    answer = announce(caller, content, **changes)
    assert answer.status_code == 201, answer.content
    assert send(caller, answer.json(), content).status_code == 200
    tend_assets()
    delete_media()
    return caller.get(f"{ASSETS}/{answer.json()['upload_id']}").json()


def jpeg(caller, content: bytes, **changes) -> dict:
    return upload(caller, content, filename="me.jpg", content_type="image/jpeg", **changes)


def ready(caller, kind: str, **facts) -> dict:
    """An asset as its check leaves it, without a file: for what reads nothing but its row."""
    asset = Asset.objects.create(
        tenant=caller.tenant, filename="me", content_type=f"{kind}/x", num_bytes=4, sha256="ab" * 32,
        key=f"{caller.tenant.pk}/assets/{kind}", state=Asset.State.READY, kind=kind, facts=facts,
    )  # fmt: skip
    return caller.get(f"{ASSETS}/{asset.pk}").json()


def stored() -> list[str]:
    root = Path(default_storage.location)
    return [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]


def test_a_file_is_announced_sent_checked_and_ready(alice, voice):
    announced = announce(alice, voice)
    body = announced.json()
    assert (announced.status_code, body["method"], body["asset"]["state"]) == (201, "PUT", "waiting")
    assert announced["Location"].endswith(f"/api/v1/uploads/{body['upload_id']}")
    assert body["fields"] == {} and body["headers"] == {"Content-Type": "audio/wav"}

    assert send(alice, body, voice).json() == {"upload_id": body["upload_id"], "state": "waiting"}
    arrived = alice.get(f"{UPLOADS}/{body['upload_id']}").json()
    assert arrived["asset"]["uploaded_at"] and arrived["asset"]["state"] == "waiting"
    tend_assets()

    asset = alice.get(f"{ASSETS}/{body['upload_id']}").json()
    assert (asset["state"], asset["kind"], asset["duration_seconds"]) == ("ready", "audio", 4.0)
    assert asset["sha256"] == hashlib.sha256(voice).hexdigest()
    assert asset["reference"] == f"asset:{asset['id']}"
    assert b"".join(alice.get(asset["url"])) == voice


def test_a_portrait_tells_where_its_face_is(alice, portrait):
    asset = jpeg(alice, portrait)

    assert (asset["kind"], asset["width"], asset["height"]) == ("image", 640, 640)
    [face] = asset["faces"]
    # Of the picture that scikit-image ships, cropped to head and shoulders.
    assert 0.2 < face["x"] < 0.5 and 0.5 < face["x"] + face["width"] < 0.8
    assert 0.1 < face["y"] < 0.4 and 0.4 < face["y"] + face["height"] < 0.8


def test_assets_make_a_film(alice, portrait, voice, plan):
    plan.prices = full_prices(draft={"480p": 1000})
    plan.save()
    image, sound = jpeg(alice, portrait), upload(alice, voice)

    project = create(
        alice, image_url=image["reference"], audio_url=sound["reference"], parameters={"engine": "instant", "seed": 1}
    )
    assert (project["image_url"], project["audio_url"]) == (image["reference"], sound["reference"])
    assert UsageEntry.objects.get().reserved_seconds == 4  # right from the start
    runner.run(claim())

    render = Render.objects.get()
    assert (render.state, render.error_trace, render.duration_seconds) == (State.FINISHED, "", 4)
    assert alice.delete(f"{ASSETS}/{image['id']}").status_code == 200
    assert alice.get(f"{PROJECTS}/{project['id']}").json()["video_url"]


def test_what_it_costs_is_known_before(alice):
    sound = ready(alice, "audio", duration_seconds=4.0)

    told = alice.post(f"{PROJECTS}?dry_run=true", {**NEW, "audio_url": sound["reference"]}, format="json").json()
    both = {**NEW, "audio_url": sound["reference"], "audio_url_2": sound["reference"]}
    after_another = alice.post(f"{PROJECTS}?dry_run=true", both, format="json").json()
    at_once = alice.post(f"{PROJECTS}?dry_run=true", {**both, "audio_order": "meanwhile"}, format="json").json()

    assert [answer["price"]["seconds"] for answer in (told, after_another, at_once)] == [4, 8, 4]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"sha256": "0" * 64}, "hash_mismatch"),
        ({"bytes": 10}, "size_mismatch"),
        ({"bytes": 10**6}, "size_mismatch"),
    ],
)
def test_another_file_than_announced_is_refused_at_once_and_leaves_nothing(alice, voice, changes, code):
    body = announce(alice, voice, **changes).json()

    refused = send(alice, body, voice)

    assert (refused.status_code, refused.json()["code"]) == (422, code)
    assert stored() == []
    assert alice.get(f"{UPLOADS}/{body['upload_id']}").json()["asset"]["state"] == "waiting"  # and may come again


@pytest.mark.parametrize(
    ("content", "content_type", "code"),
    [
        (b"<html>no media</html>", "audio/wav", "media_invalid"),
        (b"\x89PNG\r\n\x1a\n damaged", "image/png", "media_invalid"),
        (b"\x00\x00\x00\x20ftypisom broken", "video/mp4", "video_invalid"),
    ],
)
def test_what_is_no_media_is_errored_and_not_kept(alice, content, content_type, code):
    asset = upload(alice, content, content_type=content_type)

    assert (asset["state"], asset["error"]["code"], asset["url"]) == ("errored", code, None)
    assert stored() == []
    refused = alice.post(PROJECTS, {**NEW, "audio_url": asset["reference"]}, format="json")
    assert (refused.status_code, refused.json()["code"], refused.json()["param"]) == (
        422, "asset_unusable", "audio_url",
    )  # fmt: skip


def test_a_voice_longer_than_the_plan_allows_is_told_at_once(alice, voice, plan):
    sound = upload(alice, voice)
    plan.max_audio_seconds = 3
    plan.save()

    refused = alice.post(PROJECTS, {**NEW, "audio_url": sound["reference"]}, format="json")
    assert (refused.status_code, refused.json()["code"]) == (422, "audio_too_long")
    later = upload(alice, voice[:-2], with_hash=False)
    assert (later["state"], later["error"]["code"]) == ("errored", "audio_too_long")


def test_it_comes_once_only(alice, voice):
    body = announce(alice, voice).json()
    send(alice, body, voice)

    again = send(alice, body, voice)

    assert (again.status_code, again.json()["code"]) == (409, "invalid_state")


def test_a_file_that_is_there_is_not_sent_again(alice, bob, charlie, voice):
    asset = upload(alice, voice)

    for caller in (alice, bob):
        answer = announce(caller, voice, filename="another name.wav")
        assert (answer.status_code, answer.json()["upload_id"]) == (200, asset["id"])
        assert answer.json()["method"] is answer.json()["url"] is None
    assert announce(charlie, voice).status_code == 201  # A stranger learns nothing of it.


def test_equal_files_share_one_object_until_the_last_is_deleted(alice, charlie, voice):
    upload(charlie, voice)  # A stranger's is no equal file.
    first, second = upload(alice, voice), upload(alice, voice, with_hash=False)
    assert first["id"] != second["id"] and second["state"] == "ready"
    assert len(stored()) == 2

    alice.delete(f"{ASSETS}/{first['id']}")
    delete_media()
    assert b"".join(alice.get(alice.get(f"{ASSETS}/{second['id']}").json()["url"])) == voice
    alice.delete(f"{ASSETS}/{second['id']}")
    delete_media()
    assert [name.partition("/")[0] for name in stored()] == [str(charlie.tenant.pk)]
    assert alice.get(f"{ASSETS}/{second['id']}").status_code == 404


def test_an_upload_that_does_not_come_in_time_expires(alice, voice, settings):
    body = announce(alice, voice).json()
    other = announce(alice, voice[:-2]).json()
    Asset.objects.update(expires_at=timezone.now() - timezone.timedelta(seconds=60))

    assert alice.get(f"{UPLOADS}/{body['upload_id']}").json()["asset"]["state"] == "expired"
    asset_claims.enqueue_if_due()
    tend_assets()

    assert set(Asset.objects.values_list("state", flat=True)) == {"expired"}
    late = send(alice, body, voice)
    assert (late.status_code, late.json()["code"]) == (410, "upload_expired")
    settings.UPLOAD_SECONDS = -1
    late = send(alice, other, voice[:-2])
    assert (late.status_code, late.json()["code"]) == (410, "upload_expired")
    assert stored() == []


def test_the_address_is_good_for_one_file_and_cannot_be_made_up(alice, anonymous, voice):
    body = announce(alice, voice).json()

    forged = body["url"].replace("/uploads/", "/uploads/x")
    assert anonymous.generic("PUT", forged, voice).status_code == 404
    assert anonymous.generic("PUT", body["url"], voice).status_code == 200  # a browser has no key, and needs none
    assert anonymous.get(body["url"]).status_code == 405


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"bytes": 0}, "bytes"),
        ({"bytes": -1}, "bytes"),
        ({"bytes": "many"}, "bytes"),
        ({"content_type": "text/html"}, "content_type"),
        ({"content_type": "image/png; charset=x\r\n"}, "content_type"),
        ({"sha256": "abc"}, "sha256"),
        ({"sha256": "G" * 64}, "sha256"),
        ({"filename": ""}, "filename"),
        ({"filename": "x" * 201}, "filename"),
        ({"filename": "a\u0000b"}, "filename"),
    ],
)
def test_a_bad_announcement_is_refused(alice, voice, changes, param):
    refused = announce(alice, voice, **changes)

    assert (refused.status_code, refused.json()["param"]) == (422, param)
    assert not Asset.objects.exists()
    assert "pattern" not in refused.json()["detail"]  # Which one, nobody can guess.


@pytest.mark.parametrize(
    ("filename", "content_type", "suffix"),
    [
        ("me.JPG", "image/jpeg", ".jpg"),
        ("../../etc/passwd", "audio/mpeg", ".mp3"),
        ("page.html", "image/png", ".png"),
        ("voice", "audio/wav", ".wav"),
        ("a.b.c.d", "video/mp4", ".mp4"),
    ],
)
def test_the_stored_name_tells_the_type_and_nothing_else(alice, filename, content_type, suffix):
    announce(alice, b"x", filename=filename, content_type=content_type)

    asset = Asset.objects.get()
    assert asset.key == f"{alice.tenant.pk}/uploads/{asset.pk}{suffix}"


def test_too_large_is_told_when_it_is_announced(alice, settings, plan):
    refused = announce(alice, b"x", bytes=settings.MAX_AUDIO_BYTES + 1)
    assert (refused.status_code, refused.json()["code"]) == (422, "media_too_large")

    plan.max_stored_bytes = 1000
    plan.save()
    assert announce(alice, b"x", bytes=600).status_code == 201
    full = announce(alice, b"y", bytes=600)
    assert (full.status_code, full.json()["code"]) == (402, "storage_quota_exceeded")


@pytest.mark.parametrize(
    ("reference", "status", "code"),
    [
        (f"asset:{NOBODYS}", 422, "asset_not_found"),
        (f"avatar:{NOBODYS}", 422, "asset_not_found"),
        ("asset:", 422, "url_not_allowed"),
        ("asset:../x", 422, "url_not_allowed"),
        ("stored:0/secret", 422, "url_not_allowed"),
    ],
)
def test_what_is_not_there_cannot_be_used(alice, reference, status, code):
    refused = alice.post(PROJECTS, {**NEW, "image_url": reference}, format="json")

    assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert not UsageEntry.objects.exists()


def test_neither_a_stranger_s_nor_a_test_key_s_nor_one_of_another_kind(alice, charlie):
    foreign, sound = (ready(caller, "audio", duration_seconds=4.0) for caller in (charlie, alice))

    def code(**fields) -> str:
        return alice.post(PROJECTS, {**NEW, **fields}, format="json").json()["code"]

    assert code(audio_url=foreign["reference"]) == "asset_not_found"
    assert code(image_url=sound["reference"]) == "image_invalid"
    assert code(audio_url=ready(alice, "image", faces=[])["reference"]) == "audio_invalid"
    waiting = announce(alice, b"voice").json()["asset"]["reference"]
    assert code(audio_url=waiting) == "asset_not_ready"
    ApiKey.objects.filter(pk=alice.key.pk).update(mode="test")
    assert code(audio_url=sound["reference"]) == "asset_not_found"
    assert alice.get(ASSETS).json()["data"] == []


def test_what_a_waiting_project_needs_is_not_deleted(alice):
    sound = ready(alice, "audio", duration_seconds=4.0)
    project = create(alice, audio_url=sound["reference"])

    refused = alice.delete(f"{ASSETS}/{sound['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "invalid_state")
    alice.post(project["urls"]["cancel"])
    assert alice.delete(f"{ASSETS}/{sound['id']}").status_code == 200


def test_a_source_that_was_lost_is_told(alice, voice, portrait):
    sound, image = upload(alice, voice), jpeg(alice, portrait)
    create(alice, image_url=image["reference"], audio_url=sound["reference"])
    default_storage.delete(Asset.objects.get(pk=sound["id"]).key)

    runner.run(claim())

    render = Render.objects.get()
    assert (render.state, render.error_code, render.error_param) == (State.FAILED, "asset_not_found", "audio_url")


def test_they_are_listed_newest_first(alice):
    ids = [announce(alice, b"voice", with_hash=False).json()["upload_id"] for _ in range(3)]

    first = alice.get(f"{ASSETS}?limit=2").json()
    second = alice.get(f"{ASSETS}?limit=2&cursor={first['next_cursor']}").json()

    assert [asset["id"] for asset in first["data"] + second["data"]] == ids[::-1]
    assert (first["has_more"], second["has_more"]) == (True, False)


def test_a_worker_that_died_in_a_check_does_not_hold_it_for_ever(alice, voice, monkeypatch):
    monkeypatch.setattr(verification, "MAX_CHECKS", 2)
    body = announce(alice, voice).json()
    send(alice, body, voice)

    def die(*arguments):
        raise SystemExit

    monkeypatch.setattr(verification, "_check", die)
    for _ in range(verification.MAX_CHECKS):
        with pytest.raises(SystemExit):
            tend_assets()
        tend_assets()  # nothing to do: it is in somebody's hands
        Asset.objects.update(check_after=timezone.now() - timezone.timedelta(seconds=60))
    tend_assets()

    asset = alice.get(f"{ASSETS}/{body['upload_id']}").json()
    assert (asset["state"], asset["error"]["code"]) == ("errored", "worker_lost")


def test_a_storage_that_is_away_is_waited_for(alice, voice, monkeypatch):
    body = announce(alice, voice).json()
    send(alice, body, voice)
    from render.storage import media

    def away(*arguments):
        raise StorageFailure(Reason.UNAVAILABLE, "away")

    with monkeypatch.context() as patch:
        patch.setattr(media, "download", away)
        tend_assets()
    assert alice.get(f"{ASSETS}/{body['upload_id']}").json()["state"] == "waiting"
    Asset.objects.update(check_after=timezone.now())
    tend_assets()
    assert alice.get(f"{ASSETS}/{body['upload_id']}").json()["state"] == "ready"


def test_it_goes_straight_to_cloudinary(alice, portrait, settings):
    with running_cloudinary() as cloud:
        settings.STORAGES = {**settings.STORAGES, **cloud.storages}
        body = announce(alice, portrait, filename="me.jpg", content_type="image/jpeg").json()
        complete = f"{UPLOADS}/{body['upload_id']}/complete"

        httpx.post(body["url"], data=body["fields"], files={"file": portrait}).raise_for_status()
        assert alice.post(complete).status_code == 202
        tend_assets()
        asset = alice.get(f"{ASSETS}/{body['upload_id']}").json()
        assert (asset["state"], asset["kind"]) == ("ready", "image")
        assert httpx.get(asset["url"]).content == portrait

        wrong = announce(alice, portrait + b"x", filename="me.jpg", content_type="image/jpeg").json()
        httpx.post(wrong["url"], data=wrong["fields"], files={"file": portrait + b"y"}).raise_for_status()
        alice.post(f"{UPLOADS}/{wrong['upload_id']}/complete")
        tend_assets()
        refused = alice.get(f"{ASSETS}/{wrong['upload_id']}").json()
        assert (refused["state"], refused["error"]["code"]) == ("errored", "hash_mismatch")
        delete_media()
        assert len(cloud.objects) == 1


def test_an_avatar_is_a_portrait_with_a_name(alice, portrait, voice):
    image = jpeg(alice, portrait)
    made = alice.post("/api/v1/avatars", {"name": "Eileen", "image_url": image["reference"]}, format="json")
    avatar = made.json()
    assert (made.status_code, avatar["name"], avatar["face"]) == (201, "Eileen", image["faces"][0])

    create(
        alice,
        image_url=avatar["reference"],
        audio_url=upload(alice, voice)["reference"],
        parameters={"engine": "instant", "seed": 1},
    )
    runner.run(claim())
    assert Render.objects.get().state == State.FINISHED

    as_voice = {**NEW, "image_url": avatar["reference"], "audio_url": avatar["reference"]}
    refused = alice.post("/api/v1/projects", as_voice, format="json").json()
    assert (refused["code"], refused["param"]) == ("asset_not_found", "audio_url")
    assert refused["detail"].startswith("An avatar is a portrait")
    renamed = alice.patch(f"/api/v1/avatars/{avatar['id']}", {"name": "Commander"}, format="json").json()
    assert renamed["name"] == alice.get("/api/v1/avatars").json()["data"][0]["name"] == "Commander"
    held = alice.delete(f"{ASSETS}/{image['id']}")
    assert (held.status_code, held.json()["code"]) == (409, "invalid_state")
    assert alice.delete(f"/api/v1/avatars/{avatar['id']}").status_code == 200
    assert alice.delete(f"{ASSETS}/{image['id']}").status_code == 200


def test_an_avatar_needs_a_face(alice, voice):
    plain = io.BytesIO()
    Image.new("RGB", (320, 240), "teal").save(plain, "JPEG")
    faceless, sound = jpeg(alice, plain.getvalue()), upload(alice, voice)

    def code(image_url: str) -> str:
        answer = alice.post("/api/v1/avatars", {"name": "X", "image_url": image_url}, format="json")
        assert answer.json()["param"] == "image_url"
        return answer.json()["code"]

    assert code(faceless["reference"]) == "no_face"
    assert code(sound["reference"]) == "image_invalid"
    assert code(f"asset:{NOBODYS}") == "asset_not_found"
    assert code("https://example.com/me.jpg") == "invalid"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EMFILE])
@pytest.mark.parametrize(
    "place", [(work_folder, "locked_folder"), (media_inspection, "inspect")], ids=["folder", "file"]
)
def test_an_upload_is_not_refused_because_our_disk_is_full(alice, charlie, voice, monkeypatch, place, code):
    """Nor is one of another tenant, which waits behind it."""
    monkeypatch.setattr(disk_room, "CHECK_SECONDS", 0)
    monkeypatch.setattr(verification, "MAX_CHECKS", 1)
    uploads = [announce(caller, voice).json() for caller in (alice, charlie)]

    def fail(*arguments, **named):
        raise OSError(code, "the machine's fault")

    with monkeypatch.context() as broken:
        broken.setattr(*place, fail)
        for caller, sent in zip((alice, charlie), uploads, strict=True):
            assert send(caller, sent, voice).status_code == 200
        for _ in range(2 * verification.MAX_CHECKS):
            Asset.objects.update(check_after=timezone.now())
            Node.objects.update(fault="", fault_since=None, rests_until=None)
            tend_assets()

        assert {(asset.state, asset.checks - asset.put_offs) for asset in Asset.objects.all()} == {("waiting", 0)}
        assert "the machine's fault" in Node.objects.get(queue="cpu").fault
    Asset.objects.update(check_after=timezone.now())
    Node.objects.update(rests_until=timezone.now())
    tend_assets()

    for caller, sent in zip((alice, charlie), uploads, strict=True):
        assert caller.get(f"{ASSETS}/{sent['upload_id']}").json()["state"] == "ready"


def test_a_machine_without_room_checks_no_upload(alice, voice, settings):
    settings.MIN_FREE_WORK_BYTES = 2**62

    assert upload(alice, voice)["state"] == "waiting"
    assert Asset.objects.get().checks == 0
