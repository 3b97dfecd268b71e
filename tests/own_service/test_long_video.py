"""A film of half an hour at the pace of a GPU, in a service where a minute takes a second: four minutes in all."""

from collections import Counter
from pathlib import Path

import av
import pytest
from django.core.files.storage import default_storage

from accounts.models import Plan, UsageEntry
from creatorify.operations import invariants
from render.models import Attempt, Render, State
from tests.render.conftest import write_voice
from tests.stack import LEASE_SECONDS, queue_worker, running_service, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

FILM_SECONDS = 1800
TIMEOUT_SECONDS = 45  # 2,700 in reality
HANG_SECONDS = 15  # With it, the queue's own limit is 80 s, see `_TICKET_TIMEOUT`.
KILLED_AFTER = (200, 450)  # segments, of 625


def test_it_is_finished_although_its_worker_is_killed_twice(
    alice, site, transactional_db, settings, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"  # the service's
    base_url, folder = site
    write_voice(folder / "long-voice.wav", FILM_SECONDS)
    Plan.objects.update(max_audio_seconds=FILM_SECONDS, monthly_seconds=FILM_SECONDS)
    history = tmp_path / "history"
    body = {
        "title": "Long",
        "image_url": f"{base_url}/picture.png",
        "audio_url": f"{base_url}/long-voice.wav",
        "prompt": str(history),
        "parameters": {"engine": "paced", "seed": 42},
    }
    times = {"RENDER_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS), "RENDER_HANG_SECONDS": str(HANG_SECONDS)}
    with running_service(tmp_path, gpu_node=True, **times) as service:
        alice.post("/api/v1/projects", body, format="json")
        render = Render.objects.get()
        for number in KILLED_AFTER:
            until(lambda number=number: render.segments.count() >= number, seconds=600)
            queue_worker(service, "gpu_node").kill()
        until(lambda: Render.objects.get().state not in (State.QUEUED, State.RUNNING), seconds=600)

    render.refresh_from_db()
    assert (render.state, render.error_code, render.num_frames) == (State.FINISHED, "", FILM_SECONDS * 25)
    assert UsageEntry.objects.get().billed_seconds == FILM_SECONDS
    assert invariants.check() == []
    recorded_by = dict(render.segments.values_list("index", "attempt"))
    assert len(recorded_by) == 625
    assert len(set(recorded_by.values())) == 1 + len(KILLED_AFTER)
    assert_nothing_recorded_was_rendered_again(history, recorded_by)
    attempts = render.attempts.filter(outcome__in=[Attempt.Outcome.DONE, Attempt.Outcome.LEASE_LOST])
    lasted = [attempt.ended_at - attempt.started_at for attempt in attempts]
    print("Segments of each attempt:", Counter(recorded_by.values()), "and how long it lasted:", *lasted)
    assert max(lasted).total_seconds() > TIMEOUT_SECONDS + HANG_SECONDS + 5 * LEASE_SECONDS
    assert length_of(render.video_key) == pytest.approx(FILM_SECONDS, abs=0.05)


def assert_nothing_recorded_was_rendered_again(history: Path, recorded_by: dict[int, int]) -> None:
    """Only what a killed worker had in its hands, and had not recorded, is rendered by the next one, too."""
    rendered = [tuple(map(int, line.split())) for line in history.read_text().splitlines()]
    assert [line for line in rendered if line[0] > recorded_by[line[1]]] == []
    times = Counter(index for _, index in rendered)
    assert times.keys() == recorded_by.keys()
    assert times.total() <= len(recorded_by) + len(KILLED_AFTER)


def length_of(key: str) -> float:
    with default_storage.open(key) as file, av.open(file) as film:
        return film.duration / av.time_base
