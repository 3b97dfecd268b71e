"""A render may take any time as a whole, if it never stands still for RENDER_TIMEOUT_SECONDS."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.files.storage import default_storage
from django.db import OperationalError

import tests.engines
from render.cluster import db_retry, hardening, ticket_clock
from render.lifecycle import lease, progress, retries, transitions
from render.lifecycle.lease import Lease
from render.machine import work_folder
from render.media.isolation import calls as isolated
from render.media.video import output_video
from render.models import Render, State
from render.pipeline import preparation, runner, segments
from render.pipeline.growth import GrowthCheck
from render.storage import media
from render.storage.failures import Reason, StorageFailure
from tests.engines import InstantEngine

pytestmark = pytest.mark.django_db

NEARLY, TOO_LONG = 0.9, 1.1  # of the time that a render may stand still


class Slowness:
    """By the clock that the lease reads, some steps take very long. Its thread does not run: each such step renews."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, limit: float) -> None:
        self._patch, self._limit, self._now, self._lease = monkeypatch, limit, 1000.0, None
        slowness = self

        class UnthreadedLease(Lease):
            def __enter__(self) -> "UnthreadedLease":
                slowness._lease = self
                return self

            def __exit__(self, *error: object) -> None:
                pass

        monkeypatch.setattr(lease, "time", SimpleNamespace(monotonic=lambda: self._now))
        monkeypatch.setattr(runner, "Lease", UnthreadedLease)

    def of(self, place: object, name: str, *, times: int = 100, share: float = NEARLY) -> list[int]:
        """That step, so often. Returns a list that grows with each."""
        real, done = getattr(place, name), []

        def slowly(*arguments, **named):
            if len(done) < times:
                done.append(1)
                self.wait(share)
            return real(*arguments, **named)

        self._patch.setattr(place, name, slowly)
        return done

    def wait(self, share: float) -> None:
        self._now += share * self._limit
        self._lease._renew()


@pytest.fixture
def enqueue(enqueue, site) -> Callable[..., Render]:
    """Of a voice that makes two segments."""
    base_url, _ = site
    return partial(enqueue, audio_url=f"{base_url}/other-voice.wav")


@pytest.fixture
def slowness(monkeypatch, settings) -> Slowness:
    return Slowness(monkeypatch, settings.RENDER_TIMEOUT_SECONDS)


@pytest.fixture
def rendered(monkeypatch) -> list[int]:
    """The index of each segment that the engine has made."""
    made: list[int] = []
    real = InstantEngine.segments

    def count(self, *arguments) -> Iterator:
        for segment in real(self, *arguments):
            made.append(segment.index)
            yield segment

    monkeypatch.setattr(InstantEngine, "segments", count)
    return made


STEPS: dict[str, tuple[list[tuple[object, str]], int]] = {
    "preparation": (
        [
            (preparation, "_fetch_all"),
            (isolated, "normalise_voice"),
            (isolated, "normalise_portrait"),
            (media, "store_source"),
        ],
        6,
    ),
    "each segment, rendered and stored": ([(tests.engines.time, "sleep"), (media, "store_segment")], 4),
    "joining and upload": (
        [(output_video, "assemble_video"), (output_video, "save_poster"), (media, "store_video")],
        4,
    ),
}


@pytest.mark.parametrize(("steps", "number"), STEPS.values(), ids=STEPS)
def test_each_step_may_take_nearly_the_whole_time(enqueue, claim, slowness, steps, number) -> None:
    render = enqueue()
    done = [slowness.of(*step) for step in steps]

    runner.run(claim())

    render.refresh_from_db()
    assert (render.state, render.attempt, render.failures) == (State.FINISHED, 1, 0)
    assert sum(map(len, done)) == number


def test_files_that_come_slowly_are_steps_forward(enqueue, claim, slowness, monkeypatch) -> None:
    """Sources that are fetched for a render, and segments that are fetched to be joined, on another node."""
    render = enqueue()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(runner, "assemble", lambda *given: transitions.hand_over(given[0], "cpu", "assembling"))
        elsewhere.setattr(runner, "upload_and_finish", lambda *given: None)
        runner.run(claim())
    fetched = slowness.of(media, "fetch")

    runner.run(claim())

    render.refresh_from_db()
    assert (render.state, len(fetched)) == (State.FINISHED, 3)


def test_a_long_source_film_is_decoded_for_as_long_as_its_file_grows(tmp_path) -> None:
    moved: list[int] = []
    check = GrowthCheck(tmp_path, lambda: None, lambda: moved.append(1), interval_seconds=0)
    path = tmp_path / ".video.mp4"

    for size, moves in [(0, 0), (100, 1), (100, 1), (300, 2), (200, 2)]:
        path.write_bytes(bytes(size))
        check()
        assert len(moved) == moves
    path.rename(tmp_path / "video.mp4")
    check()
    assert len(moved) == 2


def test_the_files_are_not_listed_for_each_block_that_is_read(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_bytes(b"content")
    listings: list[Path] = []
    monkeypatch.setattr(Path, "iterdir", lambda folder: listings.append(folder) or iter(()))
    check = GrowthCheck(tmp_path, lambda: None, lambda: None, interval_seconds=3600)

    for _ in range(1000):
        check()

    assert listings == [tmp_path]


def test_waiting_for_the_storage_with_a_segment_has_its_own_limit(
    enqueue, claim, slowness, monkeypatch, settings
) -> None:
    settings.STORAGE_PATIENCE_SECONDS = 0.4
    tries = iter(range(3))
    real = media.store_segment

    def away(*arguments) -> str:
        if next(tries, None) is not None:
            slowness.wait(NEARLY)
            raise StorageFailure(Reason.UNAVAILABLE, "away")
        return real(*arguments)

    monkeypatch.setattr(media, "store_segment", away)
    render = enqueue()

    runner.run(claim())

    render.refresh_from_db()
    assert (render.state, render.storage_failures, render.failures) == (State.FINISHED, 0, 0)


@pytest.mark.parametrize(
    "step", [(isolated, "normalise_voice"), (output_video, "assemble_video"), (media, "store_video")]
)
def test_what_stands_still_is_tried_again_where_it_was(enqueue, claim, slowness, rendered, step) -> None:
    render = enqueue()
    slowness.of(*step, times=1, share=TOO_LONG)

    runner.run(claim())
    render.refresh_from_db()
    assert (render.state, render.failures, render.error_code) == (State.QUEUED, 1, "")

    runner.run(claim())
    render.refresh_from_db()
    assert render.state == State.FINISHED
    assert rendered == [0, 1]


def test_a_film_that_stands_still_now_and_then_is_finished_all_the_same(
    enqueue, claim, slowness, rendered, monkeypatch, settings, site
) -> None:
    """Only failures in a row, without a segment in between, count."""
    settings.RENDER_RETRY_DELAYS = [0]
    render = enqueue(audio_url=f"{site[0]}/voice.wav")  # four segments
    tried = []

    def sleep(seconds: float) -> None:
        """The first try at each segment but the first hangs."""
        tried.append(len(rendered))
        if len(rendered) and tried.count(len(rendered)) == 1:
            slowness.wait(TOO_LONG)

    monkeypatch.setattr(tests.engines.time, "sleep", sleep)
    for _ in range(3):
        runner.run(claim())
        render.refresh_from_db()
        assert (render.state, render.failures) == (State.QUEUED, 1)
        del rendered[render.segments.count() :]  # What was rendered when nobody wanted it any more.
    runner.run(claim())

    render.refresh_from_db()
    assert (render.state, render.segments.count()) == (State.FINISHED, 4)


def record(claimed, index: int) -> None:
    progress.record_segment(
        claimed, index=index, key=f"k{index}", num_bytes=1, frames=25, state_key="", render_seconds=1, progress=9
    )


def prepare(claimed) -> None:
    sources = {"portrait": None, "video": None, "voices": [], "sound": []}
    progress.prepared(claimed, sources=sources, plan={"segments": []}, num_frames=100, segments_total=4)


def test_a_long_film_may_lose_more_workers_than_a_short_one(enqueue, claim, settings) -> None:
    settings.RENDER_RETRY_DELAYS = [0]
    render = enqueue()
    crashes = []
    for index in (0, 1, None, 2, None, None):
        claimed = claim()
        if index == 0:
            prepare(claimed)
        if index is not None:
            record(claimed, index)
        retries.reap(Render.objects.get())
        render.refresh_from_db()
        crashes.append(render.crashes)

    assert crashes == [1, 1, 2, 1, 2, 3]


def test_what_is_lost_each_time_is_not_rendered_for_ever(enqueue, claim, settings) -> None:
    """Although each attempt records segments: they are those that were lost."""
    settings.RENDER_RETRY_DELAYS = [0]
    render = enqueue()
    crashes = []
    for _ in range(3):
        claimed = claim()
        prepare(claimed)  # Drops what was recorded.
        record(claimed, 0)
        retries.reap(Render.objects.get())
        render.refresh_from_db()
        crashes.append(render.crashes)

    assert crashes == [1, 2, 3]


def test_a_damaged_object_is_lost_as_a_missing_one_is(enqueue, claim, monkeypatch, rendered) -> None:
    render = enqueue()
    with monkeypatch.context() as broken:
        broken.setattr(output_video, "assemble_video", lambda *given, **named: 1 / 0)
        runner.run(claim())
    render.refresh_from_db()
    damaged = default_storage.path(render.segments.all()[1].key)
    Path(damaged).write_bytes(b"not what was stored")

    runner.run(claim())
    render.refresh_from_db()
    assert (render.state, render.sources) == (State.QUEUED, None)
    Render.objects.update(not_before=render.created_at)
    runner.run(claim())

    render.refresh_from_db()
    assert (render.state, rendered) == (State.FINISHED, [0, 1] * 2)


def test_only_the_last_checkpoint_is_kept(enqueue, claim, site) -> None:
    """One has 43 MB: those of half an hour would fill the disk."""
    render = enqueue(engine="stateful", audio_url=f"{site[0]}/voice.wav")  # four segments
    runner.run(claim())
    runner.run(claim("gpu"))

    render.refresh_from_db()
    assert render.state == State.FINISHED
    states = [segment.state_key for segment in render.segments.all()]
    assert [default_storage.exists(key) for key in states] == [False, False, False, True]


def test_a_storage_that_does_not_delete_a_checkpoint_stops_nothing(enqueue, claim, monkeypatch) -> None:
    def refuse(key: str) -> None:
        raise StorageFailure(Reason.UNAVAILABLE, "away")

    monkeypatch.setattr(media, "delete", refuse)
    render = enqueue(engine="stateful")
    runner.run(claim())
    runner.run(claim("gpu"))

    render.refresh_from_db()
    assert render.state == State.FINISHED


def test_a_checkpoint_leaves_no_file_on_the_nodes_disk(tmp_path, monkeypatch) -> None:
    def store(path: Path, *given) -> str:
        assert path.read_bytes() == b"state"
        return "work/stored.bin"

    monkeypatch.setattr(segments, "store", store)
    segment = SimpleNamespace(index=3, checkpoint=SimpleNamespace(state=b"state"))

    assert segments.store_state(segment, None, None, None, tmp_path) == "work/stored.bin"
    assert list(tmp_path.iterdir()) == []


def test_the_database_may_be_away_after_hours_of_work(monkeypatch, settings) -> None:
    """Its outage is as long as it was away, not as long as the step has taken."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(db_retry, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=lambda seconds: None))
    ends: list[Callable[[], str]] = []

    def step() -> str:
        clock.now += 3 * settings.RENDER_OUTAGE_SECONDS
        return ends.pop(0)()

    def away() -> str:
        raise OperationalError("away")

    ends[:] = [away, away, away, lambda: "done"]  # Each after hours of work.
    assert db_retry.retry_through_outage(step) == "done"


def test_tries_that_only_wait_for_a_connection_do_not_go_on_for_ever(monkeypatch, settings) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(db_retry, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=lambda seconds: None))

    def step() -> None:
        clock.now += 30
        raise OperationalError("timeout expired")

    with pytest.raises(OperationalError):
        db_retry.retry_through_outage(step)
    assert settings.RENDER_OUTAGE_SECONDS < clock.now < settings.RENDER_OUTAGE_SECONDS + 100


class TestTheTicket:
    @pytest.fixture
    def alarms(self, monkeypatch) -> list[int]:
        alarms: list[int] = []
        monkeypatch.setattr(ticket_clock.signal, "alarm", alarms.append)
        monkeypatch.setattr(ticket_clock, "_timer", None)
        return alarms

    def test_its_time_begins_anew_with_each_step_forward(self, alarms, enqueue, claim) -> None:
        timer = multiprocessing.Value("f", 7.5)  # As the sentinel has counted it down.
        ticket_clock.watch(timer, 3900)
        enqueue()
        Lease(claim()).moved_on()

        assert timer.value == 3903
        assert set(alarms) == {3900}

    @pytest.mark.parametrize("value", [-1, 0, -2], ids=["idle", "timed out", "recycled"])
    def test_a_worker_without_one_is_left_alone(self, alarms, value) -> None:
        timer = multiprocessing.Value("f", value)
        ticket_clock.watch(timer, 3900)
        ticket_clock.begin_anew()

        assert (timer.value, alarms) == (value, [])

    def test_outside_of_a_queue_there_is_none(self, alarms) -> None:
        ticket_clock.begin_anew()

        assert alarms == []

    def test_each_worker_of_a_queue_knows_its_timer(self, alarms, monkeypatch) -> None:
        monkeypatch.setattr(hardening, "die_with_parent", lambda: None)
        timer = multiprocessing.Value("f", 1)
        given = []
        hardening._Worker(lambda *arguments: given.append(arguments))("tasks", "results", timer, 60)
        ticket_clock.begin_anew()

        assert given == [("tasks", "results", timer, 60)]
        assert timer.value == 63

    def test_it_is_longer_than_a_render_may_stand_still_and_its_worker_hang(self, settings) -> None:
        assert settings.Q_CLUSTER["timeout"] == 3900
        assert settings.Q_CLUSTER["timeout"] > settings.RENDER_TIMEOUT_SECONDS + settings.RENDER_HANG_SECONDS


def test_a_short_time_limit_makes_no_new_work_folder_an_abandoned_one(settings) -> None:
    settings.RENDER_TIMEOUT_SECONDS = 1
    settings.WORK_DIR.mkdir()
    folder = settings.WORK_DIR / "new-a1-0"
    folder.mkdir()
    os.utime(folder, (folder.stat().st_mtime - 60,) * 2)
    work_folder.sweep()

    assert folder.exists()
