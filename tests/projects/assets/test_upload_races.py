"""Uploads, their checks and their deletion at the same moment, each on a connection of its own."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.files.storage import default_storage
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone
from django_q.models import OrmQ

from accounts.errors import ServiceError
from projects.assets import arrivals, discards, verification
from projects.assets import claims as asset_claims
from projects.assets import services as assets
from projects.models import Asset, DiscardedObject
from projects.tasks import delete_media, tend_assets
from render.storage import media
from tests.projects.assets.test_uploads import ASSETS, UPLOADS, announce, send, stored, upload
from tests.render.conftest import write_voice
from tests.servers.cloudinary import running_cloudinary
from tests.stack import until

pytestmark = pytest.mark.django_db(transaction=True)

# Kept, because each thread that checks a file has a decoding server of its own, which takes a while to start.
THREADS = ThreadPoolExecutor(2)


@pytest.fixture(scope="session")
def voice(tmp_path_factory) -> bytes:
    return write_voice(tmp_path_factory.mktemp("voice") / "voice.wav", 1).read_bytes()


@pytest.fixture
def strangers(charlie, voice) -> Callable[[], None]:
    """A stranger's equal file; to be called when all is over, to see that it is there still."""
    asset = upload(charlie, voice)

    def is_there() -> None:
        shown = charlie.get(f"{ASSETS}/{asset['id']}").json()
        assert b"".join(charlie.get(shown["url"])) == voice

    return is_there


def own_files(caller) -> list[str]:
    """What is stored of the tenant, and of nobody yet."""
    return [name for name in stored() if name.startswith((str(caller.tenant.pk), "incoming"))]


def arrive(caller, content: bytes) -> Asset:
    """It was sent, and is not checked."""
    body = announce(caller, content, with_hash=False).json()
    assert send(caller, body, content).status_code == 200
    return Asset.objects.get(pk=body["upload_id"])


@contextmanager
def on_another_connection(call: Callable[..., Any], *arguments: object) -> Iterator[Future[Any]]:
    def run() -> Any:
        try:
            return call(*arguments)
        finally:
            connection.close()

    running = THREADS.submit(run)
    try:
        yield running
    finally:
        wait([running])


def somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # Within a transaction it would stay what it was at first.
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return cursor.fetchone()[0] > 0


class Pause:
    """Stops the first who calls a function, when it was done, until it may go on."""

    def __init__(self, monkeypatch, owner: object, name: str) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        real, is_first = getattr(owner, name), threading.Lock()

        def paused(*arguments, **named):
            result = real(*arguments, **named)
            if is_first.acquire(blocking=False):
                self.reached.set()
                assert self.go_on.wait(30)
            return result

        monkeypatch.setattr(owner, name, paused)


def test_an_equal_file_that_is_just_being_deleted_is_not_shared(alice, strangers, voice) -> None:
    first = Asset.objects.get(pk=upload(alice, voice)["id"])
    second = arrive(alice, voice)

    with on_another_connection(tend_assets) as checking:
        with transaction.atomic():
            assets.delete(first)
            until(somebody_waits_for_a_lock)
            assert not checking.done()
        checking.result(30)
    delete_media()

    second.refresh_from_db()
    assert (second.state, second.key != first.key) == ("ready", True)
    assert own_files(alice) == [second.key]
    strangers()


def test_what_an_equal_file_shares_is_kept_when_the_first_is_deleted_meanwhile(
    alice, strangers, voice, monkeypatch
) -> None:
    first = Asset.objects.get(pk=upload(alice, voice)["id"])
    second = arrive(alice, voice)
    pause = Pause(monkeypatch, discards, "discard_upload")  # The check has locked the first, and not ended.

    with on_another_connection(tend_assets) as checking:
        assert pause.reached.wait(30)
        with on_another_connection(alice.delete, f"{ASSETS}/{first.pk}") as deleting:
            until(somebody_waits_for_a_lock)
            pause.go_on.set()
            checking.result(30)
            assert deleting.result(30).status_code == 200
    delete_media()

    second.refresh_from_db()
    assert (second.state, second.key) == ("ready", first.key)
    assert own_files(alice) == [first.key]
    alice.delete(f"{ASSETS}/{second.pk}")
    delete_media()
    assert own_files(alice) == []
    strangers()


def test_what_is_deleted_while_it_is_checked_leaves_nothing(alice, strangers, voice, monkeypatch) -> None:
    asset = arrive(alice, voice)
    pause = Pause(monkeypatch, media, "store_upload")

    with on_another_connection(tend_assets) as checking:
        assert pause.reached.wait(30)
        assert alice.delete(f"{ASSETS}/{asset.pk}").status_code == 200
        pause.go_on.set()
        checking.result(30)
    delete_media()

    asset.refresh_from_db()
    assert (asset.state, asset.deleted_at is not None) == ("waiting", True)
    assert own_files(alice) == []
    strangers()


def test_a_check_that_was_taken_for_dead_takes_nothing_from_the_one_after_it(
    alice, strangers, voice, monkeypatch
) -> None:
    asset = arrive(alice, voice)
    pause = Pause(monkeypatch, media, "store_upload")

    with on_another_connection(tend_assets) as checking:
        assert pause.reached.wait(30)
        Asset.objects.filter(pk=asset.pk).update(check_after=timezone.now())
        tend_assets()
        asset.refresh_from_db()
        assert asset.state == "ready"
        pause.go_on.set()
        checking.result(30)
    delete_media()

    assert own_files(alice) == [asset.key]
    assert b"".join(alice.get(alice.get(f"{ASSETS}/{asset.pk}").json()["url"])) == voice
    strangers()


def test_a_late_refusal_takes_nothing_from_a_check_that_went_well(alice, strangers, voice) -> None:
    asset = arrive(alice, voice)
    slow = Asset.objects.get(pk=asset.pk)
    tend_assets()

    verification._refuse(slow, ServiceError("internal", "Too late."))
    delete_media()

    asset.refresh_from_db()
    assert (asset.state, asset.error_code) == ("ready", "")
    assert own_files(alice) == [asset.key]
    strangers()


def test_a_late_acceptance_does_not_bring_back_what_was_refused(alice, strangers, voice, monkeypatch) -> None:
    asset = arrive(alice, voice)
    pause = Pause(monkeypatch, media, "store_upload")

    with on_another_connection(tend_assets) as checking:
        assert pause.reached.wait(30)
        verification._refuse(Asset.objects.get(pk=asset.pk), ServiceError("internal", "It took too long."))
        pause.go_on.set()
        checking.result(30)
    delete_media()

    asset.refresh_from_db()
    assert (asset.state, asset.error_code) == ("errored", "internal")
    assert own_files(alice) == []
    strangers()


def test_what_a_killed_check_has_stored_is_deleted_a_day_later(alice, strangers, voice, monkeypatch) -> None:
    asset = arrive(alice, voice)
    real = media.store_upload

    def store_and_die(*arguments) -> None:
        real(*arguments)
        raise SystemExit

    with monkeypatch.context() as dying:
        dying.setattr(media, "store_upload", store_and_die)
        with pytest.raises(SystemExit):
            tend_assets()
    alice.delete(f"{ASSETS}/{asset.pk}")
    delete_media()
    assert len(own_files(alice)) == 1

    DiscardedObject.objects.update(delete_after=F("delete_after") - verification.STORE_TIME)
    delete_media()
    assert own_files(alice) == []
    strangers()


def test_a_file_that_is_being_deleted_as_left_over_becomes_no_asset_s(alice, strangers, voice, monkeypatch) -> None:
    asset = arrive(alice, voice)
    pause = Pause(monkeypatch, media, "store_upload")

    with on_another_connection(tend_assets) as checking:
        assert pause.reached.wait(30)
        DiscardedObject.objects.filter(key__startswith=f"{alice.tenant.pk}/assets").update(delete_after=timezone.now())
        delete_media()
        pause.go_on.set()
        checking.result(30)
    asset.refresh_from_db()
    assert asset.state == "waiting"

    Asset.objects.filter(pk=asset.pk).update(check_after=timezone.now())
    tend_assets()
    delete_media()
    asset.refresh_from_db()
    assert asset.state == "ready"
    assert own_files(alice) == [asset.key]
    strangers()


@pytest.mark.parametrize("call", ["download", "store_upload"])
def test_a_check_keeps_its_claim_while_the_storage_takes_long(alice, strangers, voice, monkeypatch, call: str) -> None:
    monkeypatch.setattr(asset_claims, "RENEW_SECONDS", 0.05)
    asset = arrive(alice, voice)
    slow = Pause(monkeypatch, media, call)

    with on_another_connection(tend_assets) as checking:
        assert slow.reached.wait(30)
        almost_over = timezone.now() + timedelta(seconds=30)
        Asset.objects.filter(pk=asset.pk).update(check_after=almost_over)
        try:
            until(lambda: Asset.objects.get(pk=asset.pk).check_after > almost_over)
        finally:
            slow.go_on.set()
        checking.result(30)

    asset.refresh_from_db()
    assert (asset.state, asset.checks) == ("ready", 1)
    strangers()


def test_of_two_bodies_for_one_upload_the_first_that_is_whole_counts(alice, strangers, voice, monkeypatch) -> None:
    page = b"<script>alert(1)</script>".ljust(len(voice))
    body = announce(alice, voice, with_hash=False).json()
    begun = Pause(monkeypatch, arrivals, "_find")  # The page's, which has found its upload waiting.

    with on_another_connection(send, alice, body, page) as sending_page:
        assert begun.reached.wait(30)
        assert send(alice, body, voice).status_code == 200
        tend_assets()
        begun.go_on.set()
        refused = sending_page.result(30)
    delete_media()

    assert (refused.status_code, refused.json()["code"]) == (409, "invalid_state")
    [name] = own_files(alice)
    assert (Path(default_storage.location) / name).read_bytes() == voice
    strangers()


def test_it_is_complete_once_however_often_that_is_said(alice, charlie, voice, settings) -> None:
    with running_cloudinary() as cloud:
        settings.STORAGES = {**settings.STORAGES, **cloud.storages}
        foreign = announce(charlie, voice).json()
        body = announce(alice, voice).json()
        httpx.post(body["url"], data=body["fields"], files={"file": voice}).raise_for_status()
        OrmQ.objects.all().delete()

        def complete(_: int) -> int:
            try:
                return alice.post(f"{UPLOADS}/{body['upload_id']}/complete").status_code
            finally:
                connection.close()

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(complete, range(16))) == {202}

        assert OrmQ.objects.count() == 1
        tend_assets()
        assert alice.post(f"{UPLOADS}/{body['upload_id']}/complete").json()["asset"]["state"] == "ready"
        assert charlie.get(f"{UPLOADS}/{foreign['upload_id']}").json()["asset"]["waiting_for"] == "file"


def test_uploads_that_are_announced_at_once_are_counted_one_by_one(alice, charlie, settings) -> None:
    settings.MAX_UNSENT_UPLOADS = 3

    def status(_: int) -> int:
        try:
            return announce(alice, b"x").status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        answers = sorted(pool.map(status, range(12)))

    assert answers == [201] * 3 + [429] * 9
    assert announce(charlie, b"x").status_code == 201
    Asset.objects.filter(tenant=alice.tenant).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert announce(alice, b"x").status_code == 201
