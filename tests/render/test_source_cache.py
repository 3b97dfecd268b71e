"""`render.source_cache`, `render.objects.fetch` and `render.prefetch`: sources wait on the node for their render."""

import os
import time
from pathlib import Path

import pytest
from django.core.files.storage import default_storage

from render import objects, runner, source_cache
from render.models import Render, State
from render.prefetch import prefetch


@pytest.fixture
def stored(tmp_path, acme):
    def store(content: bytes) -> str:
        path = tmp_path / "voice.wav"
        path.write_bytes(content)
        return objects.store_source(path, Render(tenant=acme))

    return store


def cached(settings) -> set[str]:
    return {path.name for path in (Path(settings.WORK_DIR) / "sources").iterdir()}


def test_a_source_is_fetched_once(stored, tmp_path, settings) -> None:
    key = stored(b"voice")
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    objects.fetch(key, tmp_path / "first")
    default_storage.delete(key)

    assert objects.fetch(key, tmp_path / "second").read_bytes() == b"voice"
    assert cached(settings) == {Path(key).name}


def test_a_damaged_source_is_refused_and_not_kept(stored, tmp_path, settings) -> None:
    key = stored(b"voice")
    Path(default_storage.path(key)).write_bytes(b"noise")
    (tmp_path / "work").mkdir()

    with pytest.raises(objects.DamagedObject):
        objects.fetch(key, tmp_path / "work")

    assert cached(settings) == set()


def test_what_was_not_used_for_longest_goes_first(stored, settings) -> None:
    settings.SOURCE_CACHE_BYTES = 25
    keys = [stored(bytes([number]) * 10) for number in range(3)]
    kept = [objects.keep_source(key) for key in keys[:2]]
    now = time.time()
    os.utime(kept[0], (now - 60, now - 60))
    os.utime(kept[1], (now - 120, now - 120))
    objects.keep_source(keys[1])

    objects.keep_source(keys[2])

    assert cached(settings) == {Path(keys[1]).name, Path(keys[2]).name}


def test_what_nobody_uses_any_more_goes_however_small(stored, settings) -> None:
    old = objects.keep_source(stored(b"old"))
    yesterday = time.time() - source_cache.UNUSED_SECONDS - 1
    os.utime(old, (yesterday, yesterday))

    new = objects.keep_source(stored(b"new"))

    assert cached(settings) == {new.name}


def test_a_render_finds_what_was_fetched_ahead(enqueue, claim) -> None:
    render = enqueue(engine="stateful")
    runner.run(claim("cpu"))
    render.refresh_from_db()
    assert render.queue == "gpu"

    prefetch("gpu")
    for key in [render.sources["portrait"], *render.sources["voices"], *(key for key, _ in render.sources["sound"])]:
        default_storage.delete(key)
    runner.run(claim("gpu"))

    assert Render.objects.get().state == State.FINISHED


def test_what_cannot_be_fetched_ahead_is_left_to_the_render(enqueue, claim, settings) -> None:
    enqueue(engine="stateful")
    runner.run(claim("cpu"))
    sources = Render.objects.get().sources
    default_storage.delete(sources["portrait"])

    prefetch("gpu")

    assert cached(settings) >= {Path(key).name for key in sources["voices"]}
