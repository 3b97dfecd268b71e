"""The storage has lost what a render needs, as after a restore without the folder `work/`: how each render ends."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.db.models.functions import Now

from accounts.models import UsageEntry
from creatorify.operations import invariants
from render.fence import Claim
from render.models import Render, State
from render.pipeline import runner
from render.storage import media, source_cache
from tests.engines import StatefulEngine
from tests.neighbour import Neighbour

pytestmark = pytest.mark.django_db

ASKED_AT_MOST = 50  # times for an object, while a render is worked on


@pytest.fixture(autouse=True)
def bounded(monkeypatch) -> None:
    """Whoever would ask without end is stopped."""
    asked: list[str] = []
    real = media.download

    def bring(key: str, path: Path) -> tuple[int, str]:
        asked.append(key)
        assert len(asked) <= ASKED_AT_MOST
        return real(key, path)

    monkeypatch.setattr(media, "download", bring)


@pytest.fixture
def render(enqueue, claim, monkeypatch, neighbour: Neighbour) -> Render:
    """Prepared, and with two of its four segments rendered by a node that was drained then."""
    made = enqueue(engine="stateful")
    runner.run(claim("cpu"))
    with monkeypatch.context() as draining:
        real = StatefulEngine.segments

        def drain(self, inputs, parameters, plan, resume, hold):
            for segment in real(self, inputs, parameters, plan, resume, hold):
                hold._draining = segment.index == 1
                yield segment

        draining.setattr(StatefulEngine, "segments", drain)
        runner.run(claim("gpu"))
    made.refresh_from_db()
    assert (made.state, made.queue, made.segments.count()) == (State.QUEUED, "gpu", 2)
    return made


def work(render: Render, claim: Callable[..., Claim | None]) -> int:
    """Do what there is to do, as nodes that never rest; return how many attempts that took."""
    attempts = 0
    while claimed := claim("cpu") or claim("gpu"):
        runner.run(claimed)
        attempts += 1
        assert attempts < 20
        Render.objects.filter(pk=render.pk).update(not_before=Now())
    render.refresh_from_db()
    return attempts


def lose(*keys: str) -> None:
    source_cache.clear()  # As on another node.
    for key in keys:
        default_storage.delete(key)


def lose_a_source(render: Render) -> None:
    lose(render.sources["portrait"])


def lose_a_segment(render: Render) -> None:
    lose(render.segments.all()[0].key)


def lose_all(render: Render) -> None:
    lose()
    default_storage.delete_folder("work")


@pytest.mark.parametrize("lose", [lose_a_source, lose_a_segment, lose_all])
def test_it_is_made_anew_from_the_customers_files(render, claim, lose) -> None:
    lose(render)

    work(render, claim)

    assert (render.state, render.error_code, render.failures) == (State.FINISHED, "", 1)
    assert render.segments.count() == 4
    assert all(default_storage.exists(segment.key) for segment in render.segments.all())
    entry = UsageEntry.objects.get(render_id=render.pk)
    assert (entry.reserved_seconds, entry.billed_seconds) == (4, 4)
    broken = {finding.invariant.name for finding in invariants.check() if str(render.pk) in finding.violations}
    assert broken == {"one_take"}  # There is no project here.


def test_while_it_waits_to_be_made_anew_it_says_so(render, claim) -> None:
    lose_all(render)

    runner.run(claim("gpu"))

    render.refresh_from_db()
    assert (render.state, render.queue, render.phase, render.progress) == (State.QUEUED, "cpu", "prepare", 0)
    assert "MissingObject" in render.error_trace


def test_without_the_customers_file_it_fails_for_good(render, claim, acme) -> None:
    Render.objects.filter(pk=render.pk).update(image_url=f"{media.STORED}{'0' * 64}/{acme.pk}/assets/gone.png")
    lose_all(render)

    assert work(render, claim) == 2

    assert (render.state, render.error_code, render.error_param) == (State.FAILED, "asset_not_found", "image_url")
    assert UsageEntry.objects.get(render_id=render.pk).billed_seconds == 0


def test_a_storage_that_loses_everything_each_time_is_not_asked_for_ever(render, claim, monkeypatch) -> None:
    """As where two machines keep media as files, each in a folder of its own."""
    real = runner.render_segments

    def elsewhere(claimed, lease, given, folder) -> None:
        lose_all(given)
        real(claimed, lease, given, folder)

    monkeypatch.setattr(runner, "render_segments", elsewhere)

    work(render, claim)

    assert (render.state, render.error_code, render.failures) == (State.FAILED, "work_lost", 3)
    assert UsageEntry.objects.get(render_id=render.pk).billed_seconds == 0
