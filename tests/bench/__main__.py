"""`make bench`: how fast the draft is and what the service adds around an engine. Prints JSON; asserts nothing.

Every figure is taken in one run on one machine, so compare the ratios: other machines differ.
"""

import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

django.setup()

import httpx

from accounts.api_keys import keys
from accounts.models import Tenant
from creatorify.demo.media import write_portrait, write_speech
from render.engines.base import FPS, RenderInputs
from render.engines.draft.engine import DraftEngine
from render.frame.found_faces import find_faces
from render.frame.shot import plan_shot
from render.media.audio.segment_audio import open_segment_audio
from render.media.audio.voice import normalise_voice
from render.media.image.portrait import normalise_portrait
from render.media.video.output_video import assemble_video
from render.media.video.segment_file import encode_segment
from render.models import Render
from render.parameters import Parameters
from tests.engines import FreeLease
from tests.stack import running_service, scratch_database, served_sources, unlimited_plan

ACCEPTS = 200
JOBS = 40


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        write_portrait(folder / "portrait.jpg")
        write_speech(folder / "speech.wav")
        report = {"machine": {"cpus": os.cpu_count(), "processor": platform.processor() or platform.machine()}}
        report["draft"] = draft_speed(folder)
        environment = {"RENDER_LEASE_SECONDS": "60", "CPU_WORKERS": "2"}
        with scratch_database(), running_service(folder, gpu_node=True, **environment) as service:
            report["service"] = service_speed(service.base_url, folder)
    print(json.dumps(report, indent=2))


def draft_speed(folder: Path) -> dict[str, object]:
    """From normalised files to the finished mp4, as multiples of real time, the best of three."""
    voice = normalise_voice(folder / "speech.wav", folder / "voice.wav", max_seconds=600, param="audio_url")
    normalise_portrait(folder / "portrait.jpg", folder / "portrait.png", param="image_url")
    inputs = RenderInputs(portrait=folder / "portrait.png", video=None, voices=(voice.path,), prompt="")
    runs = [_draft_run(inputs, folder) for _ in range(3)]
    seconds, plan, first = min(runs, key=lambda run: run[0])
    video_seconds = plan.num_frames / FPS
    return {
        "size": f"{plan.width}x{plan.height}",
        "video_seconds": video_seconds,
        "wall_seconds": round(seconds, 2),
        "times_real_time": round(video_seconds / seconds, 2),
        "seconds_to_first_segment": round(first, 2),
    }


def _draft_run(inputs: RenderInputs, folder: Path):  # type: ignore[no-untyped-def]
    start = time.perf_counter()
    engine, parameters, first = DraftEngine(), Parameters(seed=42), 0.0
    source = find_faces(inputs.portrait, is_video=False)
    shot = plan_shot(source, parameters, [], num_voices=1, pixels=engine.pixels("480p"))
    plan = engine.plan(inputs, parameters, shot)
    pieces = []
    sound = [(folder / "speech.wav", 0.0)]
    with open_segment_audio(sound, plan.num_frames) as piece_sound:
        for segment in engine.segments(inputs, parameters, plan, None, FreeLease()):
            pieces.append(folder / f"{segment.index}.ts")
            start_frame = plan.segments[segment.index].start
            encode_segment(segment.frames, pieces[-1], start_frame=start_frame, audio=piece_sound)
            first = first or time.perf_counter() - start
    assemble_video(pieces, sound, plan.num_frames, folder / "film.mp4")
    return time.perf_counter() - start, plan, first


def service_speed(base_url: str, folder: Path) -> dict[str, object]:
    tenant = Tenant.objects.create(name="Bench", plan=unlimited_plan("Bench"))
    _, plain = keys.issue(tenant, name="bench")
    body = {"title": "Bench", **served_sources(base_url, folder), "parameters": {"engine": "instant", "seed": 1}}
    with httpx.Client(base_url=f"{base_url}/api/v1", headers={"X-API-Key": plain}, timeout=60) as client:
        _run_jobs(client, body, number=3, at_once=1)  # warm-up: imports, connections
        report: dict[str, object] = {
            f"{at_once}_at_once": _run_jobs(client, body, number=JOBS, at_once=at_once) for at_once in (1, 8)
        }
        on_gpu_node = {**body, "parameters": {"engine": "chunked", "seed": 1}}
        _run_jobs(client, on_gpu_node, number=3, at_once=1)
        report["through_a_gpu_node"] = _run_jobs(client, on_gpu_node, number=JOBS, at_once=1)
        report["accept_ms"] = _accept_latency(client, body)
    return report


def _accept_latency(client: httpx.Client, body: dict[str, object]) -> dict[str, float]:
    """POST to 201, one after the other, while the queue works in the background as it would."""
    milliseconds = []
    for _ in range(ACCEPTS):
        start = time.perf_counter()
        response = client.post("/projects", json=body)
        milliseconds.append(1000 * (time.perf_counter() - start))
        client.post(f"/projects/{response.json()['id']}/cancel")
    return _quantiles(milliseconds)


def _run_jobs(client: httpx.Client, body: dict[str, object], *, number: int, at_once: int) -> dict[str, object]:
    """Whole jobs with an engine that costs nothing; the times are the database's."""
    before = set(Render.objects.values_list("pk", flat=True))
    start = time.perf_counter()
    threads = [Thread(target=_jobs, args=(client, body, number // at_once)) for _ in range(at_once)]
    _each(threads, Thread.start)
    _each(threads, Thread.join)
    wall = time.perf_counter() - start
    renders = list(Render.objects.exclude(pk__in=before).filter(state="finished"))
    return {
        "jobs": len(renders),
        "jobs_per_second": round(len(renders) / wall, 2),
        "pick_up_ms": _quantiles([1000 * waited for render in renders for waited in _pick_ups(render)]),
        "overhead_ms": _quantiles([1000 * (r.completed_at - r.created_at).total_seconds() for r in renders]),
    }


def _pick_ups(render: Render) -> list[float]:
    """Seconds until a worker had it, each time it was put into a queue."""
    attempts = list(render.attempts.order_by("number"))
    queued = [render.created_at, *(attempt.ended_at for attempt in attempts)]
    return [(attempt.started_at - since).total_seconds() for attempt, since in zip(attempts, queued, strict=False)]


def _jobs(client: httpx.Client, body: dict[str, object], number: int) -> None:
    for _ in range(number):
        project_id = client.post("/projects", json=body).json()["id"]
        while client.get(f"/projects/{project_id}/status").json()["status"] not in ("finished", "failed"):
            time.sleep(0.05)


def _each(threads: list[Thread], act: Callable[[Thread], object]) -> None:
    for thread in threads:
        act(thread)


def _quantiles(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100)
    return {name: round(cuts[index], 1) for name, index in (("p50", 49), ("p95", 94), ("p99", 98))}


if __name__ == "__main__":
    main()
