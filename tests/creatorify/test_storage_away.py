"""While the media storage does not answer, everything else does: no request waits for it, and nothing is lost."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import product
from uuid import UUID

import httpx
import pytest
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.db.models import F
from django.test import Client
from django.utils import timezone

from accounts.models import ApiKey, Scope
from creatorify.config import media_storages
from projects.assets import verification
from projects.models import Asset, Avatar, DiscardedObject
from projects.models.webhooks import WebhookEndpoint
from projects.progress.hls import preview_path
from projects.tasks import delete_media, tend_assets
from render.models import Render, Segment
from render.storage import media
from render.storage.backends.files import SignedFileStorage
from render.storage.failures import Reason, StorageFailure
from tests.creatorify.api.test_tenancy import METHODS, OPEN, api_routes, concrete, is_offered
from tests.projects.steps import NEW, PROJECTS, claim, create, finish, finished_project
from tests.render.media_makers import picture
from tests.servers.cloudinary import running_cloudinary
from tests.servers.s3 import running_s3, use_bucket_without_credentials

pytestmark = pytest.mark.django_db

UPLOADS, ASSETS, AVATARS = "/api/v1/uploads", "/api/v1/assets", "/api/v1/avatars"
STORAGE_CALLS = ["save", "open", "exists", "size", "delete", "delete_folder", "listdir", "get_modified_time"]


class SilentServer:
    """Takes connections, and answers nothing; or, when it `resets`, ends them."""

    def __init__(self) -> None:
        self.num_connections, self.resets = 0, False
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.num_connections += 1
                if self.resets:
                    connection.close()
                else:
                    self._connections.append(connection)

    def close(self) -> None:
        self._socket.close()
        for connection in self._connections:
            connection.close()


@contextmanager
def never_answers(kind: str, settings, monkeypatch) -> Iterator[SilentServer]:
    """The media storages are of this kind, and do not answer. On a disk, a look at it counts as a connection."""
    server = SilentServer()
    settings.STORAGE_ATTEMPTS, settings.STORAGE_BACKOFF_SECONDS = 1, 0.001
    if kind == "files":
        with monkeypatch.context() as patch:
            for name in STORAGE_CALLS:

                def touched(*arguments, **named):
                    server.num_connections += 1
                    raise StorageFailure(Reason.UNAVAILABLE, "away")

                patch.setattr(SignedFileStorage, name, touched)
            yield server
    else:
        entry = (
            s3_at(server.url)
            if kind == "s3"
            else media_storages.cloudinary(
                f"cloudinary://key:secret@acme?upload_prefix={server.url}", auth_token_key=""
            )
        )
        settings.STORAGES = {**settings.STORAGES, "default": entry, "work": entry}
        yield server
    server.close()


def s3_at(url: str) -> dict:
    return media_storages.s3(
        "bucket", endpoint_url=url, region="eu-central-1", access_key_id="a", secret_access_key="b"
    )


def asset(caller, kind: str = "image", **fields) -> Asset:
    facts = {"format": "JPEG", "width": 640, "height": 640, "faces": [{"x": 0, "y": 0, "width": 1, "height": 1}]}
    if kind == "audio":
        facts = {"format": "wav", "duration_seconds": 4.0}
    common = {"tenant": caller.tenant, "filename": f"{kind}.x", "content_type": f"{kind}/x", "num_bytes": 5}
    made = Asset.objects.create(**{**common, "kind": kind, "facts": facts, "state": "ready", "key": "", **fields})
    Asset.objects.filter(pk=made.pk, key="").update(key=f"{caller.tenant.pk}/assets/{made.pk}.jpg")
    made.refresh_from_db()
    return made


def unsent(caller, **fields) -> Asset:
    later = timezone.now() + timedelta(hours=1)
    return asset(caller, kind="", facts={}, state="waiting", expires_at=later, **fields)


@pytest.fixture
def full(alice) -> dict[str, str]:
    """Something of everything. -> ids, as the routes need them"""
    ApiKey.objects.filter(pk=alice.key.pk).update(scopes=list(Scope))
    project = create(alice, parameters={"engine": "draft"})
    finish(claim())
    endpoint = WebhookEndpoint.objects.create(tenant=alice.tenant, url="https://a.example", secret="whsec_")
    image = asset(alice)
    Avatar.objects.create(tenant=alice.tenant, name="named", asset=asset(alice))
    return {
        "projects": project["id"],
        "keys": str(alice.key.pk),
        "usage": "1",
        "assets": str(image.pk),
        "uploads": str(unsent(alice).pk),
        "avatars": str(Avatar.objects.get().pk),
        "webhook-endpoints": str(endpoint.pk),
        "webhook-deliveries": "1",
    }


@pytest.mark.parametrize("kind", ["s3", "cloudinary", "files"])
def test_no_request_of_the_api_touches_it(alice, charlie, full, kind, settings, monkeypatch) -> None:
    theirs = asset(charlie)
    routes = sorted(set(api_routes()) - OPEN)
    image, voice = asset(alice), asset(alice, "audio")
    deleted = [asset(alice), unsent(alice)]
    named = {"image_url": f"asset:{image.pk}", "audio_url": f"asset:{voice.pk}"}
    upload = {"filename": "me.jpg", "content_type": "image/jpeg", "bytes": 10}
    to_delete = [finished_project(alice), create(alice)]
    canceled = create(alice, parameters={"engine": "draft"})
    preview = preview_path(UUID(str(Render.objects.filter(segments__isnull=False).first().pk)))

    with never_answers(kind, settings, monkeypatch) as storage:

        def ask(method: str, path: str, body: dict | None = None) -> int:
            answer = getattr(alice, method)(path, body or {}, format="json") if method != "get" else alice.get(path)
            assert storage.num_connections == 0, (method, path)
            assert answer.status_code < 500, (method, path, answer.content)
            return answer.status_code

        assert ask("post", UPLOADS, upload) == 201
        assert ask("post", UPLOADS, {**upload, "sha256": "0" * 64}) == 201
        complete = ask("post", f"{UPLOADS}/{full['uploads']}/complete")
        assert complete == (409 if kind == "files" else 202)
        assert ask("get", f"{UPLOADS}/{full['uploads']}") == 200
        assert ask("get", f"{ASSETS}/{image.pk}") == ask("get", ASSETS) == 200
        assert ask("post", AVATARS, {"name": "Eileen", "image_url": named["image_url"]}) == 201
        assert ask("post", PROJECTS, {**NEW, **named}) == 201
        assert ask("post", PROJECTS, {**NEW, "script": "Hello.", "audio_url": ""}) == 201
        assert ask("post", f"{PROJECTS}?dry_run=true", {**NEW, **named}) == 200
        assert ask("get", preview) == 200
        assert ask("get", "/healthz") == ask("get", "/api/schema") == ask("get", "/api/v1/voices") == 200
        assert ask("post", canceled["urls"]["cancel"]) == 200
        assert ask("post", canceled["urls"]["retry"]) == 202
        assert ask("post", f"{PROJECTS}/{full['projects']}/finalize") == 202
        for gone in deleted:
            assert ask("delete", f"{ASSETS}/{gone.pk}") == 200
            assert ask("get", f"{ASSETS}/{gone.pk}") == 404
        for project in to_delete:
            assert ask("delete", project["urls"]["self"]) == 200
        called = 0
        for route, method in product(routes, METHODS):
            path = concrete(route, full)
            if is_offered(method, path) and (method, re.sub(r"\W.*", "", route)) not in {
                ("delete", "keys"),
                ("post", "keys"),
            }:
                assert ask(method, path) != 405
                called += 1
        assert called > 30

    assert not Avatar.objects.filter(pk=full["avatars"]).exists()
    theirs.refresh_from_db()
    assert theirs.deleted_at is None


@pytest.mark.parametrize("kind", ["s3", "cloudinary", "files"])
def test_no_page_of_the_admin_touches_it(admin_client: Client, alice, charlie, full, kind, settings, monkeypatch):
    render = Render.objects.filter(take__project=full["projects"]).get()
    Segment.objects.filter(render=render).update(key="work/segment.ts")
    pages = [
        f"/admin/projects/project/{full['projects']}/change/",
        *("/admin/projects/asset/", f"/admin/projects/asset/{full['assets']}/change/"),
        *("/admin/projects/avatar/", f"/admin/projects/avatar/{full['avatars']}/change/"),
        *("/admin/render/render/", f"/admin/render/render/{render.pk}/change/"),
        *("/admin/projects/deletion/", "/admin/operations/", "/admin/invariants/", "/admin/report/"),
    ]
    with never_answers(kind, settings, monkeypatch) as storage:
        for page in pages:
            assert admin_client.get(page).status_code in (200, 302), page
            assert storage.num_connections == 0, page
        look = admin_client.get(f"/admin/render/render/{render.pk}/media/video/")
        assert (look.status_code, storage.num_connections) == (302, 0)


@pytest.mark.parametrize("kind", ["s3", "cloudinary"])
def test_what_was_sent_or_deleted_meanwhile_is_done_when_it_is_back(
    alice, charlie, kind, settings, monkeypatch
) -> None:
    content = picture("JPEG")
    gone, theirs = asset(alice), asset(charlie)
    with never_answers(kind, settings, monkeypatch) as storage:
        storage.resets = True
        waiting = unsent(alice, num_bytes=len(content), filename="me.jpg")
        shown = alice.post(f"{UPLOADS}/{waiting.pk}/complete").json()["asset"]
        assert (shown["state"], shown["waiting_for"]) == ("waiting", "check")
        assert alice.delete(f"{ASSETS}/{gone.pk}").status_code == 200
        for _ in range(verification.MAX_CHECKS + 2):  # It is no fault of the file's, however often.
            Asset.objects.filter(pk=waiting.pk).update(check_after=timezone.now())
            DiscardedObject.objects.filter(key=gone.key).update(delete_after=timezone.now())
            cache.clear()  # A minute later
            tend_assets()
            delete_media()
        assert storage.num_connections > verification.MAX_CHECKS
    shown = alice.get(f"{ASSETS}/{waiting.pk}").json()
    assert (shown["state"], shown["waiting_for"], shown["error"]) == ("waiting", "storage", None)
    waiting.refresh_from_db()
    assert (waiting.checks - waiting.put_offs, waiting.storage_failures) == (0, verification.MAX_CHECKS + 2)
    assert waiting.check_after > timezone.now() + timedelta(minutes=50)  # less and less often
    assert DiscardedObject.objects.get(key=gone.key).delete_after > timezone.now() + timedelta(minutes=50)

    with storage_that_is_back(kind, settings):
        for key in (gone.key, theirs.key):
            media.storage_of(key).save(key, ContentFile(b"media"))
        media.storage_of(waiting.key).save(waiting.key, ContentFile(content))
        Asset.objects.update(check_after=F("check_after") - timedelta(hours=2))
        DiscardedObject.objects.update(delete_after=F("delete_after") - timedelta(hours=2))
        cache.clear()
        tend_assets()
        delete_media()

        shown = alice.get(f"{ASSETS}/{waiting.pk}").json()
        assert (shown["state"], shown["waiting_for"]) == ("ready", None)
        assert httpx.get(shown["url"]).content == content
        assert [media.storage_of(key).exists(key) for key in (gone.key, theirs.key)] == [False, True]


@contextmanager
def storage_that_is_back(kind: str, settings) -> Iterator[None]:
    if kind == "cloudinary":
        with running_cloudinary() as cloud:
            settings.STORAGES = {**settings.STORAGES, **cloud.storages}
            yield
    else:
        with running_s3() as s3:
            names = {"endpoint_url": "S3_ENDPOINT_URL", "region": "S3_REGION", "access_key_id": "S3_ACCESS_KEY_ID"}
            given = {name: s3[key] for name, key in names.items()}
            entry = media_storages.s3(s3["S3_BUCKET"], secret_access_key=s3["S3_SECRET_ACCESS_KEY"], **given)
            settings.STORAGES = {**settings.STORAGES, "default": entry, "work": entry}
            yield


def test_one_object_that_is_never_deleted_keeps_no_other(alice, charlie, monkeypatch) -> None:
    stuck, free = asset(alice), asset(charlie)
    real = SignedFileStorage.delete

    def refuse(self, name: str) -> None:
        if name == stuck.key:
            raise StorageFailure(Reason.UNAVAILABLE, "away")
        real(self, name)

    monkeypatch.setattr(SignedFileStorage, "delete", refuse)
    for key in (stuck.key, free.key):
        media.storage_of(key).save(key, ContentFile(b"media"))
    alice.delete(f"{ASSETS}/{stuck.pk}")
    charlie.delete(f"{ASSETS}/{free.pk}")

    for _ in range(2):
        delete_media()
        cache.clear()  # A minute later
    delete_media()

    assert [media.storage_of(key).exists(key) for key in (stuck.key, free.key)] == [True, False]
    [left] = DiscardedObject.objects.all()
    assert left.key == stuck.key


@pytest.mark.parametrize("kind", ["s3", "cloudinary"])
def test_a_storage_that_is_away_is_asked_once_and_not_for_each_object(
    alice, charlie, kind, settings, monkeypatch
) -> None:
    """A worker would else be held for the time-outs of all of them, one after the other. And none of the others is
    written to: there may be thousands.
    """
    for owner in (alice, charlie, alice):
        assert owner.delete(f"{ASSETS}/{asset(owner).pk}").status_code == 200

    with never_answers(kind, settings, monkeypatch) as storage:
        storage.resets = True
        delete_media()
        asked = storage.num_connections
        delete_media()
        assert 0 < asked == storage.num_connections

    assert [discarded.tries for discarded in DiscardedObject.objects.order_by("-tries")] == [1, 0, 0]
    assert DiscardedObject.objects.filter(delete_after__lte=timezone.now()).count() == 2


def test_a_check_that_finds_the_storage_away_lets_the_others_wait_for_another_ticket(
    alice, charlie, settings, monkeypatch
) -> None:
    waiting = [unsent(owner) for owner in (alice, charlie)]
    Asset.objects.update(uploaded_at=timezone.now(), check_after=timezone.now())

    with never_answers("s3", settings, monkeypatch) as storage:
        storage.resets = True
        tend_assets()

    failures = Asset.objects.filter(pk__in=[one.pk for one in waiting]).values_list("storage_failures", flat=True)
    assert sorted(failures) == [0, 1]


def test_without_credentials_an_upload_and_a_link_are_answered_with_503_and_one_line(
    alice, charlie, settings, monkeypatch, caplog
) -> None:
    mine, theirs = asset(alice), asset(charlie)
    before = Asset.objects.filter(pk=theirs.pk).values().get()
    use_bucket_without_credentials(settings, monkeypatch)
    announced = {"filename": "me.jpg", "content_type": "image/jpeg", "bytes": 5}

    for refused in (alice.post(UPLOADS, announced, format="json"), alice.get(f"{ASSETS}/{mine.pk}")):
        told = refused.json()
        assert (refused.status_code, told["code"], told["retryable"]) == (503, "unavailable", True)
        assert refused["Retry-After"] and "redentials" not in told["detail"]
    lines = [record.getMessage() for record in caplog.records if record.name == "creatorify.api.errors"]
    line = "Responded with 503: the media storage says wrong_credentials: Unable to locate credentials"
    assert lines == [line, line]
    assert Asset.objects.filter(tenant=alice.tenant).count() == 1  # Nothing is left of the upload.
    assert Asset.objects.filter(pk=theirs.pk).values().get() == before
