"""Sources wait on the node for their render: the cache of sources, and fetching them before their turn."""

import os
import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings as settings_of_django
from django.core.files.storage import default_storage
from django.utils import timezone

from render.models import Render, State
from render.pipeline import runner
from render.pipeline.prefetch import prefetch
from render.storage import media, source_cache


@pytest.fixture
def stored(tmp_path, acme):
    def store(content: bytes) -> str:
        path = tmp_path / "voice.wav"
        path.write_bytes(content)
        return media.store_source(path, Render(tenant=acme))

    return store


def keep(key: str) -> Path:
    """Fetch it ahead; where it lies then."""
    media.cache_source(key)
    return Path(settings_of_django.WORK_DIR) / "sources" / Path(key).name


def cached(settings) -> set[str]:
    return {path.name for path in (Path(settings.WORK_DIR) / "sources").iterdir()}


def test_a_source_is_fetched_once(stored, tmp_path, settings) -> None:
    key = stored(b"voice")
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    media.fetch(key, tmp_path / "first")
    default_storage.delete(key)

    assert media.fetch(key, tmp_path / "second").read_bytes() == b"voice"
    assert cached(settings) == {Path(key).name}


def test_a_damaged_source_is_refused_and_not_kept(stored, tmp_path, settings) -> None:
    key = stored(b"voice")
    Path(default_storage.path(key)).write_bytes(b"noise")
    (tmp_path / "work").mkdir()

    with pytest.raises(media.DamagedObject):
        media.fetch(key, tmp_path / "work")

    assert cached(settings) == set()


def test_what_was_not_used_for_longest_goes_first(stored, settings) -> None:
    settings.SOURCE_CACHE_BYTES = 25
    keys = [stored(bytes([number]) * 10) for number in range(3)]
    kept = [keep(key) for key in keys[:2]]
    now = time.time()
    os.utime(kept[0], (now - 60, now - 60))
    os.utime(kept[1], (now - 120, now - 120))
    media.cache_source(keys[1])

    media.cache_source(keys[2])

    assert cached(settings) == {Path(keys[1]).name, Path(keys[2]).name}


def test_what_nobody_uses_any_more_goes_however_small(stored, settings) -> None:
    old = keep(stored(b"old"))
    yesterday = time.time() - source_cache.UNUSED_SECONDS - 1
    os.utime(old, (yesterday, yesterday))

    new = keep(stored(b"new"))

    assert cached(settings) == {new.name}


def test_a_render_finds_what_was_fetched_ahead(enqueue, claim) -> None:
    render = enqueue(engine="stateful")
    runner.run(claim("cpu"))
    render.refresh_from_db()
    assert render.queue == "gpu"

    prefetch("gpu", set())
    for key in [render.sources["portrait"], *render.sources["voices"], *(key for key, _ in render.sources["sound"])]:
        default_storage.delete(key)
    runner.run(claim("gpu"))

    assert Render.objects.get().state == State.FINISHED


def test_what_cannot_be_fetched_ahead_is_left_to_the_render_and_told_once(enqueue, claim, settings, caplog) -> None:
    enqueue(engine="stateful")
    runner.run(claim("cpu"))
    sources = Render.objects.get().sources
    default_storage.delete(sources["portrait"])
    failed: set[str] = set()

    for _ in range(3):
        prefetch("gpu", failed)

    assert cached(settings) >= {Path(key).name for key in sources["voices"]}
    assert [record.getMessage() for record in caplog.records if record.name == "render.pipeline.prefetch"] == [
        f"Not downloaded ahead: {sources['portrait']}"
    ]
    assert failed == {sources["portrait"]}
    Render.objects.update(not_before=timezone.now() + timedelta(hours=1))
    prefetch("gpu", failed)
    assert not failed


def test_what_is_removed_at_the_moment_when_it_is_linked_is_fetched_again(stored, tmp_path, monkeypatch) -> None:
    key = stored(b"voice")
    kept = keep(key)
    (tmp_path / "mine").mkdir()
    real = os.link

    def link(source, target) -> None:
        kept.unlink(missing_ok=True)  # By another process, for room.
        real(source, target)

    monkeypatch.setattr(os, "link", link)

    assert media.fetch(key, tmp_path / "mine").read_bytes() == b"voice"


def test_what_another_process_is_fetching_is_not_cleared(stored, tmp_path, settings, monkeypatch) -> None:
    """However old it looks: its writer may be slow, and the clock may have jumped."""
    settings.SOURCE_CACHE_BYTES = 0
    key, other = stored(b"voice"), stored(b"other")
    real, is_first = media.download, [True]

    def bring(name, path):
        result = real(name, path)
        if is_first.pop() if is_first else False:
            os.utime(path, (0, 0))
            source_cache.clear()
            media.cache_source(other)  # Which trims.
            assert path.exists()
        return result

    monkeypatch.setattr(media, "download", bring)
    (tmp_path / "mine").mkdir()

    assert media.fetch(key, tmp_path / "mine").read_bytes() == b"voice"
    assert is_first == []


def test_what_a_killed_process_was_fetching_is_cleared(stored, settings, monkeypatch) -> None:
    key = stored(b"voice")
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(media, "download", lambda name, path: os.kill(os.getpid(), signal.SIGKILL))
        media.cache_source(key)
    os.waitpid(child, 0)
    assert len(cached(settings)) == 1

    source_cache.clear()

    assert cached(settings) == set()
