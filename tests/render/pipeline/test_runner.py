import os
import signal
import time
from collections.abc import Callable
from functools import partial
from threading import Thread

import av
import psutil
import pytest
from django.db import connection

from accounts.errors import ServiceError
from accounts.models import UsageEntry
from render import tasks
from render.fence import Claim
from render.lifecycle import progress, transitions
from render.machine.work_folder import work_folder
from render.models import Attempt, Phase, Render, Segment, State
from render.parameters import Parameters
from render.pipeline import runner
from render.sources import source_keys
from render.storage import media
from tests.engines import InstantEngine, StatefulEngine
from tests.render import hostile_media
from tests.render.conftest import write_voice
from tests.stack import until

pytestmark = pytest.mark.django_db


@pytest.fixture
def enqueue(enqueue, site) -> Callable[..., Render]:
    """Of a voice that makes two segments."""
    base_url, _ = site
    return partial(enqueue, audio_url=f"{base_url}/other-voice.wav")


def film_sha256(render) -> str:
    return render.video_key.removesuffix(".mp4")[-64:]


def piece_sha256s(render) -> list[str]:
    return [segment.key.removesuffix(".ts")[-64:] for segment in render.segments.all()]


def test_it_makes_a_film_with_the_voice_and_bills_its_seconds_once(enqueue, claim, settings) -> None:
    render = enqueue()

    runner.run(claim())

    render.refresh_from_db()
    assert (render.state, render.progress, render.error_trace) == (State.FINISHED, 100, "")
    with av.open(str(settings.MEDIA_ROOT / render.video_key)) as film:
        assert film.streams.video[0].codec_context.name == "h264"
        assert film.streams.audio[0].codec_context.name == "aac"
        assert film.streams.video[0].average_rate == 25
        assert film.duration / 1e6 == pytest.approx(2, abs=0.04)
    assert (settings.MEDIA_ROOT / render.poster_key).exists()
    pieces = list(render.segments.all())
    assert len(pieces) == 2
    for segment in pieces:  # Each can be watched and heard.
        with av.open(str(settings.MEDIA_ROOT / segment.key)) as piece:
            assert [stream.codec_context.name for stream in piece.streams] == ["h264", "aac"]
            assert piece.duration / 1e6 == pytest.approx(1, abs=0.03)
    entry = UsageEntry.objects.get(render_id=render.pk)
    assert (entry.reserved_seconds, entry.billed_seconds, entry.amount_micros) == (2, 2, 2000)


def test_afterwards_nothing_is_on_the_node_and_nothing_as_it_came_from_the_customer(enqueue, claim, settings) -> None:
    """Neither the picture nor the voice as they came is stored for the engine or for the film's sound."""
    render = enqueue()

    runner.run(claim())

    render.refresh_from_db()
    assert render.state == State.FINISHED
    assert list(settings.WORK_DIR.iterdir()) == []
    assert {key.rpartition(".")[2] for key in source_keys(render.sources)} == {"png", "wav", "flac"}


def test_a_resumed_film_equals_an_unbroken_one(enqueue, claim, monkeypatch) -> None:
    whole = enqueue()
    runner.run(claim())
    broken = enqueue()
    original = InstantEngine.segments

    def break_off(self, inputs, parameters, plan, resume, hold):
        for segment in original(self, inputs, parameters, plan, resume, hold):
            if segment.index == 1 and resume is None:
                raise OSError("the disk is full")
            yield segment

    monkeypatch.setattr(InstantEngine, "segments", break_off)
    runner.run(claim())
    broken.refresh_from_db()
    assert (broken.state, broken.failures, broken.segments.count()) == (State.QUEUED, 1, 1)

    runner.run(claim())

    whole.refresh_from_db()
    broken.refresh_from_db()
    assert broken.state == State.FINISHED
    assert film_sha256(broken) == film_sha256(whole)
    assert piece_sha256s(broken) == piece_sha256s(whole)
    assert list(Segment.objects.filter(render=broken).values_list("attempt", flat=True)) == [1, 2]


@pytest.mark.parametrize(("told_in", "recorded", "state"), [(0, 1, State.QUEUED), (1, 2, State.FINISHED)])
def test_a_draining_node_keeps_the_segment_that_it_has_made(
    enqueue, claim, monkeypatch, told_in, recorded, state
) -> None:
    render = enqueue()
    original = InstantEngine.segments

    def drain(self, inputs, parameters, plan, resume, hold):
        for segment in original(self, inputs, parameters, plan, resume, hold):
            hold._draining = segment.index == told_in
            yield segment

    monkeypatch.setattr(InstantEngine, "segments", drain)
    runner.run(claim())

    render.refresh_from_db()
    assert (render.state, render.segments.count(), render.crashes) == (state, recorded, 0)


@pytest.mark.parametrize("another_waits", [True, False])
def test_the_engines_own_queue_gets_what_was_prepared(enqueue, claim, another_waits) -> None:
    render = enqueue(engine="stateful")

    runner.run(claim("cpu"))
    render.refresh_from_db()
    assert (render.state, render.phase, render.queue) == (State.QUEUED, "waiting", "gpu")
    assert claim("cpu") is None

    if another_waits:
        enqueue(engine="stateful")
        runner.run(claim("cpu"))
    runner.run(claim("gpu"))
    render.refresh_from_db()
    if another_waits:
        assert (render.state, render.queue, render.phase) == (State.QUEUED, "cpu", Phase.ASSEMBLING)
        runner.run(claim("cpu"))
        render.refresh_from_db()

    assert render.state == State.FINISHED
    outcomes = list(render.attempts.order_by("number").values_list("outcome", flat=True))
    assert outcomes == ["handed_over"] * (1 + another_waits) + ["done"]


def test_what_is_rendered_is_assembled_before_anything_else_and_whatever_the_limit(enqueue, claim, plan) -> None:
    plan.max_concurrent = 1
    plan.save()
    rendered = enqueue(engine="stateful")
    runner.run(claim("cpu"))
    second = enqueue(engine="stateful")
    runner.run(claim("cpu"))
    runner.run(claim("gpu"))
    newcomer = enqueue()
    assert claim("gpu").render_id == second.pk

    assert claim("cpu").render_id == rendered.pk
    assert claim("cpu") is None
    assert newcomer.queue == "cpu"


def test_an_engines_state_survives_a_broken_attempt(enqueue, claim, monkeypatch) -> None:
    films = []
    for breaks in (False, True):
        render = enqueue(engine="stateful")
        runner.run(claim("cpu"))
        if breaks:
            original = StatefulEngine.segments

            def break_off(self, inputs, parameters, plan, resume, hold, original=original):
                for segment in original(self, inputs, parameters, plan, resume, hold):
                    if segment.index == 1 and resume is None:
                        raise OSError
                    yield segment

            monkeypatch.setattr(StatefulEngine, "segments", break_off)
            runner.run(claim("gpu"))
        runner.run(claim("gpu"))
        render.refresh_from_db()
        films.append(film_sha256(render))

    assert films[0] == films[1]


def test_a_damaged_segment_is_never_put_into_a_film(enqueue, claim, settings, monkeypatch) -> None:
    render = enqueue()
    original = progress.record_segment

    def damage(claim, *, key, **named):
        (settings.MEDIA_ROOT / key).write_bytes(b"damaged")
        original(claim, key=key, **named)
        raise OSError("the worker stops here")

    monkeypatch.setattr(progress, "record_segment", damage)
    runner.run(claim())
    monkeypatch.setattr(progress, "record_segment", original)
    runner.run(claim())

    render.refresh_from_db()
    assert render.state == State.QUEUED
    assert media.DamagedObject.__name__ in render.error_trace


def test_a_failure_that_may_pass_is_tried_three_times(enqueue, claim, monkeypatch, settings) -> None:
    settings.RENDER_RETRY_DELAYS = [0]
    render = enqueue()
    monkeypatch.setattr(InstantEngine, "segments", lambda *arguments: 1 / 0)

    for _ in range(3):
        runner.run(claim())

    render.refresh_from_db()
    assert (render.state, render.error_code) == (State.FAILED, "internal")
    assert "ZeroDivisionError" in render.error_trace
    assert "Zero" not in render.error_message
    assert UsageEntry.objects.get(render_id=render.pk).billed_seconds == 0


def test_an_engines_refusal_is_final(enqueue, claim, monkeypatch) -> None:
    render = enqueue()

    def refuse(*arguments):
        raise ServiceError("no_face", "No face was found.", param="image_url")

    monkeypatch.setattr(InstantEngine, "plan", refuse)
    runner.run(claim())

    render.refresh_from_db()
    assert (render.state, render.error_code, render.error_param) == (State.FAILED, "no_face", "image_url")
    assert UsageEntry.objects.get(render_id=render.pk).billed_seconds == 0


def test_a_film_too_dear_for_the_account_is_not_rendered(enqueue, claim, plan) -> None:
    plan.monthly_seconds = 1
    plan.save(update_fields=["monthly_seconds"])
    render = enqueue()

    runner.run(claim())

    render.refresh_from_db()
    assert (render.state, render.error_code, render.segments.count()) == (State.FAILED, "quota_exceeded", 0)


def test_a_canceled_render_stops_at_its_next_segment(enqueue, claim, monkeypatch) -> None:
    render = enqueue()
    original = InstantEngine.segments

    def cancel_midway(self, inputs, parameters, plan, resume, hold):
        for segment in original(self, inputs, parameters, plan, resume, hold):
            if segment.index == 1:
                transitions.request_cancel(render)
            yield segment

    monkeypatch.setattr(InstantEngine, "segments", cancel_midway)
    runner.run(claim())

    render.refresh_from_db()
    assert (render.state, render.error_code, render.segments.count()) == (State.CANCELED, "canceled", 1)
    assert UsageEntry.objects.get(render_id=render.pk).billed_seconds == 0
    assert Attempt.objects.get(render=render).outcome == Attempt.Outcome.CANCELED


def test_two_voices_are_heard_one_after_the_other(enqueue, claim, site) -> None:
    base_url, folder = site
    write_voice(folder / "brief-voice.wav", 1)
    render = enqueue(audio_url_2=f"{base_url}/brief-voice.wav")

    runner.run(claim())

    render.refresh_from_db()
    assert (render.state, render.duration_seconds) == (State.FINISHED, 3)


def test_a_forced_length_is_kept(enqueue, claim) -> None:
    render = enqueue(parameters=Parameters(seed=1, frame_num=41))

    runner.run(claim())

    render.refresh_from_db()
    assert (render.state, render.num_frames) == (State.FINISHED, 41)


def test_a_cancel_while_the_film_is_joined_still_counts(enqueue, claim, monkeypatch) -> None:
    render = enqueue()
    original = progress.enter

    def cancel_while_uploading(claim, phase, **named):
        original(claim, phase, **named)
        if phase == "uploading":
            transitions.request_cancel(render)

    monkeypatch.setattr(progress, "enter", cancel_while_uploading)
    runner.run(claim())

    render.refresh_from_db()
    assert render.state == State.CANCELED
    assert UsageEntry.objects.get(render_id=render.pk).billed_seconds == 0


def test_what_a_killed_worker_left_is_removed_in_time(enqueue, claim, settings) -> None:
    fresh, old = settings.WORK_DIR / "x-a1-fresh", settings.WORK_DIR / "x-a1-old"
    for folder in (fresh, old):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    enqueue()

    runner.run(claim())

    assert list(settings.WORK_DIR.iterdir()) == [fresh]


def test_what_a_killed_worker_left_is_removed_within_a_minute(enqueue, claim, settings) -> None:
    """By the next canary; what a living one has in its hands stays."""
    enqueue()
    claimed = claim()
    with work_folder(claimed) as held:
        (held / "portrait.png").touch()
        if (child := os.fork()) == 0:
            with work_folder(Claim(claimed.render_id, 2)) as folder:
                (folder / "voice.wav").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        assert len(list(settings.WORK_DIR.iterdir())) == 2

        tasks.run_canary("cpu")

        assert list(settings.WORK_DIR.iterdir()) == [held]
        assert (held / "portrait.png").exists()


@pytest.mark.django_db(transaction=True)
def test_a_cancel_ends_the_process_that_decodes_a_source(enqueue, claim, settings, site) -> None:
    settings.RENDER_LEASE_RENEW_SECONDS = 0.1
    base_url, folder = site
    film = hostile_media.timed_film("libx264", "mp4", 1440, 100, lambda at: at * 3600)  # some seconds of work
    (folder / "film.mp4").write_bytes(film)
    render = enqueue(image_url=f"{base_url}/film.mp4", audio_url=f"{base_url}/voice.wav")
    seen: list[psutil.Process] = []

    def cancel_while_it_decodes() -> None:
        try:
            deadline = time.monotonic() + 60
            while not seen and time.monotonic() < deadline:
                for server in psutil.Process().children():
                    seen.extend(child for child in server.children() if child.cpu_times().user > 0.25)
                time.sleep(0.02)
            transitions.request_cancel(render)
        finally:
            connection.close()

    other = Thread(target=cancel_while_it_decodes)
    other.start()
    runner.run(claim())
    other.join()

    render.refresh_from_db()
    assert render.state == State.CANCELED
    assert seen
    until(lambda: not any(map(is_at_work, seen)), seconds=60)  # What was killed takes a moment on a busy machine.


def is_at_work(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
