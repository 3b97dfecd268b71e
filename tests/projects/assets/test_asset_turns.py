"""Whose file is checked next, and what happens to a check that is broken off, put off or taken over."""

import os
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.errors import ServiceError
from projects.assets import claims as asset_claims
from projects.assets import verification
from projects.models import Asset
from render.machine import nodes, work_folder
from render.media.isolation.client import DecodingTimeout
from render.storage.failures import Reason, StorageFailure
from tests.stack import until

WAIT_SECONDS = 20  # Until something has happened that takes moments.


@pytest.fixture
def arrived():
    """A file that has arrived. seconds: how long it has waited."""

    def make(tenant, *, seconds: float = 1, **fields) -> Asset:
        long_ago = timezone.now() - timedelta(seconds=seconds)
        facts = {"filename": "a.wav", "content_type": "audio/wav", "num_bytes": 1, "key": f"{tenant.pk}/a.wav"}
        return Asset.objects.create(tenant=tenant, **facts, uploaded_at=long_ago, check_after=long_ago, **fields)

    return make


def claim() -> Asset | None:
    return asset_claims.claim(nodes.heartbeat("cpu"))


def end(asset: Asset) -> None:
    verification._refuse(asset, ServiceError("media_invalid", "x"))


@pytest.mark.django_db
def test_one_of_a_tenant_at_a_time_and_the_others_at_once(arrived, acme, charlie) -> None:
    first, second = arrived(acme, seconds=9), arrived(acme, seconds=8)
    strangers = arrived(charlie.tenant, seconds=1)

    assert [claim().pk, claim().pk, claim()] == [first.pk, strangers.pk, None]
    end(Asset.objects.get(pk=first.pk))
    assert claim().pk == second.pk
    assert claim() is None


@pytest.mark.django_db
def test_tenants_take_turns_however_many_files_one_has_sent(arrived, acme, charlie) -> None:
    for _ in range(3):
        arrived(acme, seconds=100)
    for _ in range(2):
        arrived(charlie.tenant, seconds=1)

    turns = []
    while (asset := claim()) is not None:
        turns.append(asset.tenant.name)
        end(asset)

    assert turns == ["Acme", "Other", "Acme", "Other", "Acme"]


@pytest.mark.django_db
def test_a_claim_costs_the_same_however_many_files_of_a_tenant_wait(acme, charlie) -> None:
    now, statements, _ = timezone.now(), set(), nodes.heartbeat("cpu")
    facts = {"filename": "a.wav", "content_type": "audio/wav", "num_bytes": 1, "uploaded_at": now}
    for more in (10, 290):
        for tenant in (acme, charlie.tenant):
            Asset.objects.bulk_create(
                Asset(tenant=tenant, **facts, check_after=now - timedelta(seconds=more - index))
                for index in range(more)
            )
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE projects_asset")  # As Postgres does by itself, some time after such changes.
            before = _touched_rows()
            with CaptureQueriesContext(connection) as asked:
                claimed = claim()
            written, read = (now - then for now, then in zip(_touched_rows(), before, strict=True))

            assert claimed.tenant == tenant and written == 2  # The file's, and the tenant's turn.
            assert read < 200
            statements.add(len(asked))
            end(claimed)
    assert len(statements) == 1


def _touched_rows() -> tuple[int, int]:
    """In this transaction: changed or made, and read."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(n_tup_upd + n_tup_ins), sum(seq_tup_read + coalesce(idx_tup_fetch, 0))"
            " FROM pg_stat_xact_user_tables WHERE relname IN ('projects_asset', 'projects_checkturn')"
        )
        return cursor.fetchone()


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_do_not_both_get_one_of_the_same_tenant(arrived, acme, charlie) -> None:
    first = arrived(acme, seconds=9)
    arrived(acme, seconds=8)
    theirs: list[Asset | None] = []

    def claim_elsewhere() -> None:
        try:
            theirs.append(claim())
        finally:
            connection.close()

    other = threading.Thread(target=claim_elsewhere)
    with transaction.atomic():
        mine = claim()
        other.start()
        deadline = time.monotonic() + WAIT_SECONDS
        while other.is_alive() and not _somebody_waits_for_a_lock():
            assert time.monotonic() < deadline
            time.sleep(0.02)
    other.join()

    assert mine.pk == first.pk and theirs == [None]
    strangers = arrived(charlie.tenant)
    assert claim().pk == strangers.pk


def _somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()[0] > 0


@pytest.mark.django_db
def test_a_file_that_is_deleted_in_its_check_keeps_the_turn_until_that_ends(arrived, acme, charlie) -> None:
    arrived(acme, seconds=9)
    arrived(acme, seconds=8)
    strangers = arrived(charlie.tenant)
    checked = claim()
    Asset.objects.filter(pk=checked.pk).update(deleted_at=timezone.now())

    assert claim().pk == strangers.pk
    assert claim() is None


@pytest.mark.django_db
def test_a_check_that_was_put_off_does_not_count(arrived, acme, monkeypatch) -> None:
    asset = arrived(acme)

    def away(*arguments):
        raise StorageFailure(Reason.UNAVAILABLE, "away")

    monkeypatch.setattr(verification, "_check", away)
    monkeypatch.setattr(verification, "MAX_CHECKS", 2)
    for _ in range(verification.MAX_CHECKS + 3):
        assert not verification.check_next()  # While the storage is away, no other check is begun here.
        assert not verification.check_next()  # not at once again
        Asset.objects.update(check_after=timezone.now())

    asset.refresh_from_db()
    assert (asset.state, asset.being_checked) == (Asset.State.WAITING, False)
    assert asset.checks == asset.put_offs == verification.MAX_CHECKS + 3


@pytest.mark.django_db
@pytest.mark.parametrize("failure", [DecodingTimeout(), RuntimeError("a bug"), SystemExit()])
def test_a_check_that_fails_counts_and_ends_after_some(arrived, acme, charlie, monkeypatch, failure) -> None:
    asset, strangers = arrived(acme), arrived(charlie.tenant, seconds=-1000)
    monkeypatch.setattr(verification.media, "storage_of", lambda key: _NoStorage())

    def fail(*arguments):
        raise failure

    monkeypatch.setattr(verification, "_check", fail)
    monkeypatch.setattr(verification, "MAX_CHECKS", 2)
    for _ in range(verification.MAX_CHECKS):
        with pytest.raises(type(failure)):
            verification.check_next()
        assert not verification.check_next()
        Asset.objects.filter(pk=asset.pk).update(check_after=timezone.now())
    assert verification.check_next()

    asset.refresh_from_db()
    assert (asset.state, asset.error_code) == (Asset.State.ERRORED, "worker_lost")
    strangers.refresh_from_db()
    assert (strangers.state, strangers.checks) == (Asset.State.WAITING, 0)


class _NoStorage:
    def delete(self, key: str) -> None:
        pass


@pytest.mark.django_db
def test_who_was_overtaken_writes_nothing(arrived, acme, monkeypatch) -> None:
    arrived(acme)
    slow = claim()
    Asset.objects.update(check_after=timezone.now())
    quick = claim()
    deleted: list[str] = []
    monkeypatch.setattr(verification.media, "storage_of", lambda key: deleted.append(key))

    end(slow)

    row = Asset.objects.get()
    assert quick.pk == slow.pk and quick.checks == slow.checks + 1
    assert (row.state, row.being_checked, deleted) == (Asset.State.WAITING, True, [])


@pytest.mark.django_db(transaction=True)
def test_a_long_check_keeps_its_claim_over_an_outage_and_hears_that_it_was_lost(arrived, acme, monkeypatch) -> None:
    arrived(acme)
    monkeypatch.setattr(asset_claims, "RENEW_SECONDS", 0.01)
    asset = claim()
    soon = timezone.now() + timedelta(seconds=1)
    outages = [OperationalError("away")]
    real = asset_claims.held

    def held(asset: Asset) -> QuerySet[Asset]:
        if outages:
            raise outages.pop()
        return real(asset)

    monkeypatch.setattr(asset_claims, "held", held)
    Asset.objects.update(check_after=soon)
    with asset_claims.Keeper(asset) as keeper:
        until(lambda: Asset.objects.get().check_after > soon + timedelta(seconds=60), WAIT_SECONDS)
        assert outages == []
        keeper.check()
        Asset.objects.update(deleted_at=timezone.now())
        with pytest.raises(asset_claims.CheckLost):
            until(lambda: keeper.check(), WAIT_SECONDS)


@pytest.mark.django_db
def test_what_a_killed_check_leaves_on_the_disk_is_swept(arrived, acme, monkeypatch, settings) -> None:
    arrived(acme)
    child = os.fork()
    if child == 0:
        with work_folder.locked_folder("check-a1") as folder:
            (folder / "file.jpg").write_bytes(b"a customer's")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    seen: list[Path] = []
    monkeypatch.setattr(verification, "_check", lambda asset, folder, check: seen.append(folder))

    assert verification.check_next()

    assert seen[0].parent == settings.WORK_DIR
    assert list(settings.WORK_DIR.iterdir()) == []
