"""What a killed process leaves in the media folder is cleared, and nothing that somebody still writes."""

import hashlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage, storages

from creatorify.asgi_middleware.routes import UPLOAD
from creatorify.config import media_storages
from projects.assets.arrivals import Arrival
from projects.models import Asset
from projects.retention import policy as retention
from render.storage import media
from render.storage.backends.files import SignedFileStorage
from render.storage.failures import Reason, StorageFailure
from tests.projects.assets.test_uploads import announce, stored

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("neighbour")]

CONTENT = b"a customer's file"


class Watched(ContentFile):
    """A file of which the first half is written before `halfway` is called."""

    def __init__(self, halfway) -> None:
        super().__init__(CONTENT)
        self._halfway = halfway

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        yield CONTENT[:8]
        self._halfway()
        yield CONTENT[8:]


def make_old() -> None:
    for name in stored():
        os.utime(default_storage.path(name), (0, 0))


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_in(store) -> None:
    child = os.fork()
    if child == 0:
        store()
    os.waitpid(child, 0)


def test_a_file_that_a_killed_process_was_storing_goes(alice, tmp_path, monkeypatch) -> None:
    path = tmp_path / "file.wav"
    path.write_bytes(CONTENT)
    with monkeypatch.context() as killed:
        killed.setattr(File, "chunks", lambda file, chunk_size=None: iter(kill_itself, None))
        die_in(lambda: media.store_upload(path, f"{alice.tenant.pk}/assets/file.wav"))
    assert len(stored()) == 1

    retention.run()
    assert len(stored()) == 1  # It is young: its lock may not be seen by another machine.
    make_old()
    retention.run()

    assert stored() == []


def test_so_it_does_where_only_the_nodes_files_are_kept_here(settings) -> None:
    elsewhere = media_storages.s3(
        "other", endpoint_url="http://127.0.0.1:9", region="", access_key_id="", secret_access_key=""
    )
    settings.STORAGES = {**settings.STORAGES, "default": elsewhere}
    storage = storages["work"]
    die_in(lambda: storage.save("work/state.bin", Watched(kill_itself)))
    [left] = Path(storage.path("incoming")).iterdir()
    os.utime(left, (0, 0))

    retention.run()

    assert not left.exists()


def test_a_file_that_is_being_stored_stays_whatever_the_clock_says() -> None:
    seen = []

    def look() -> None:
        make_old()
        retention.run()
        seen.extend(stored())

    default_storage.save("acme/film.mp4", Watched(look))

    assert len(seen) == 1
    assert stored() == ["acme/film.mp4"]
    assert default_storage.open("acme/film.mp4").read() == CONTENT


def test_a_body_that_is_arriving_stays_when_the_clock_jumps(alice, monkeypatch) -> None:
    announced = announce(alice, CONTENT).json()
    arrival = Arrival(UPLOAD.fullmatch(urlsplit(announced["url"]).path)[1])
    arrival.begin()
    arrival.count(len(CONTENT))
    arrival.write(CONTENT)
    real = time.time
    with monkeypatch.context() as jumped:
        jumped.setattr(time, "time", lambda: real() + 2 * 3600)
        retention.run()
    assert len(stored()) == 1

    arrival.finish()
    arrival.abandon()

    make_old()
    retention.run()
    asset = Asset.objects.get(pk=announced["upload_id"])
    assert stored() == [asset.key]
    assert hashlib.sha256(default_storage.open(asset.key).read()).hexdigest() == asset.sha256


def test_its_lock_lasts_until_the_asset_names_it(alice, monkeypatch) -> None:
    """All has come and is written: it must not be cleared in the moment before its name is noted."""
    announced = announce(alice, CONTENT).json()
    arrival = Arrival(UPLOAD.fullmatch(urlsplit(announced["url"]).path)[1])
    arrival.begin()
    arrival.count(len(CONTENT))
    arrival.write(CONTENT)
    real = Asset.refresh_from_db
    seen = []

    def refresh(asset, *arguments, **named) -> None:
        make_old()
        seen.extend(SignedFileStorage().abandoned(seconds=1))
        real(asset, *arguments, **named)

    monkeypatch.setattr(Asset, "refresh_from_db", refresh)
    arrival.finish()
    assert seen == []
    arrival.abandon()

    assert len(list(SignedFileStorage().abandoned(seconds=1))) == 1


def test_what_cannot_be_deleted_keeps_nothing_else(monkeypatch, caplog) -> None:
    for number in range(3):
        default_storage.save(f"incoming/{number}", ContentFile(CONTENT))
    make_old()
    real = SignedFileStorage.delete
    tried = []

    def delete(storage, name: str) -> None:
        tried.append(name)
        if len(tried) == 1:
            raise StorageFailure(Reason.UNAVAILABLE, "no")
        real(storage, name)

    monkeypatch.setattr(SignedFileStorage, "delete", delete)
    retention.run()

    assert stored() == [tried[0]]
    assert f"{tried[0]} is kept for now" in caplog.text
