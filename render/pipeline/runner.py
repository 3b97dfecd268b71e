"""The story of a render, top to bottom: claim, prepare, render segments, assemble, upload, finish.

Every step may be broken off at any point and repeated: sources are stored under the hash of their content, a recorded
segment is not rendered again unless it is wrong, and everything after it is made from the recorded segments.
"""

import logging
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

from render import advice
from render.cluster.db_retry import retry_through_outage
from render.engines import registry
from render.engines.base import FPS, RenderedSegment, RenderPlan
from render.fence import Claim
from render.frame.size import upscaled_size
from render.frame.upscaling import Upscaler
from render.lifecycle import progress, transitions
from render.lifecycle.lease import Lease
from render.lifecycle.planned_segments import require_planned_segments
from render.machine.work_folder import work_folder
from render.media.audio.segment_audio import open_segment_audio
from render.media.video import output_video, segment_file
from render.models import Phase, Render
from render.node_faults import as_node_faults
from render.parameters import TRANSPARENT, Parameters
from render.pipeline import segments, test_scenarios
from render.pipeline.attempt_end import record_end
from render.pipeline.local_inputs import checkpoint_after, fetch, inputs_of, plan_of, sound_of, sources_of
from render.pipeline.poster import poster_frame
from render.pipeline.preparation import prepare_sources
from render.pipeline.transparent_video import add_transparent_video
from render.queue import tickets
from render.storage import media

logger = logging.getLogger(__name__)


def run(claim: Claim) -> None:
    """1. Claim: `render.tasks` has claimed the render for this worker, and the lease keeps it.

    Does all steps that this node can do, and records how the attempt has ended.
    """
    started = time.monotonic()
    with Lease(claim) as lease:
        try:
            with as_node_faults(), work_folder(claim) as folder:
                # After an outage of the database the same attempt goes on, from the last recorded segment.
                retry_through_outage(
                    lambda: _make_video(claim, lease, Path(tempfile.mkdtemp(dir=folder))), check=lease.check
                )
        except Exception as error:
            record_end(claim, error)
    logger.info("Render %s attempt %d: %.1f s", claim.render_id, claim.attempt, time.monotonic() - started)


def _make_video(claim: Claim, lease: Lease, folder: Path) -> None:
    """Steps 2 to 6. What another node must do, or an earlier attempt has done, is left out."""
    render = Render.objects.select_related("tenant__plan").get(pk=claim.render_id)
    if render.sources is None:
        test_scenarios.fail_before_rendering(render)
        prepare(claim, lease, render, folder)
        render.refresh_from_db()
    if render.segments.count() != render.segments_total:
        if registry.queue_of(render.engine) != render.queue:
            transitions.hand_over(claim, registry.queue_of(render.engine), Phase.WAITING)
            return
        render_segments(claim, lease, render, folder)
    if render.queue != transitions.COMMON_QUEUE and tickets.has_waiting(render.queue):
        # Other renders need this node's engine; the remaining steps do not.
        transitions.hand_over(claim, transitions.COMMON_QUEUE, Phase.ASSEMBLING)
        return
    require_planned_segments(render)
    video, poster = assemble(claim, lease, render, folder)
    upload_and_finish(claim, lease, render, video, poster, folder)


def prepare(claim: Claim, lease: Lease, render: Render, folder: Path) -> None:
    """2. Prepare: fetch, check and normalise the sources, plan the video, and set the hold to its true price."""
    _enter(claim, lease, Phase.PREPARE, 1)
    engine = registry.get(render.engine)
    parameters = Parameters.resolve(render.parameters)
    prepared = prepare_sources(
        render,
        engine=engine,
        folder=folder,
        check=lease.check,
        check_draining=lease.check_draining,
        moved_on=lease.moved_on,
    )
    sources, shot = prepared.sources, prepared.shot
    parameters = replace(parameters, frame_num=prepared.num_frames)
    plan = engine.plan(inputs_of(render, sources, folder, lease), parameters, shot)
    advised = advice.of_source(parameters, is_video=sources["video"] is not None, seconds=plan.num_frames / FPS)
    # The variant has a column of its own, and what a frame shows is kept with the sources: nodes of version 0.1.0 read
    # a plan without them, while both versions work on the same renders.
    stored_plan = asdict(plan)
    variant, crop = stored_plan.pop("variant"), stored_plan.pop("crop")
    sources["shown"] = {name: stored_plan.pop(name) for name in ("faces", "regions", "mark")}
    if crop is not None:
        sources["crop"] = crop
    progress.prepared(
        claim,
        sources=sources,
        warnings=[*prepared.warnings, *advised],
        plan=stored_plan,
        frame=shot.as_frame((plan.height, plan.width), parameters),
        is_enlarged=upscaled_size((plan.height, plan.width), parameters) != (plan.height, plan.width),
        variant=variant,
        num_frames=plan.num_frames,
        segments_total=len(plan.segments),
    )


def render_segments(claim: Claim, lease: Lease, render: Render, folder: Path) -> None:
    """3. Render the segments that no earlier attempt has recorded; each is stored before it is recorded."""
    _enter(claim, lease, Phase.LOADING, render.progress)
    engine = registry.get(render.engine)
    plan = plan_of(render)
    last = render.segments.last()
    last_state_key = last.state_key if last else ""
    checkpoint = checkpoint_after(last, folder)
    inputs = inputs_of(render, sources_of(render), folder, lease)
    parameters = Parameters.resolve(render.parameters)
    rendered = engine.segments(inputs, parameters, plan, checkpoint, lease)
    size = plan.height, plan.width
    enlarge = Upscaler(size, upscaled_size(size, parameters))
    voices = sound_of(render, folder, lease)
    with open_segment_audio(voices, plan.num_frames, on_dropped=lease.moved_on) as sound:
        began = time.monotonic()
        for segment in rendered:
            lease.check()
            lease.moved_on()  # Before the upload, which may wait for the storage for as long as the limit allows.
            path = folder / f"segment-{segment.index:05d}.ts"
            start = plan.segments[segment.index].start
            segment_file.encode_segment(map(enlarge, segment.frames), path, start_frame=start, audio=sound)
            num_bytes = path.stat().st_size
            key = segments.store(path, render, claim, lease)
            path.rename(media.local_path(key, folder))  # `assemble` finds the file there.
            stored_at = time.monotonic()
            state_key = segments.store_state(segment, render, claim, lease, folder)
            _record(
                claim,
                lease,
                segment,
                plan,
                key=key,
                num_bytes=num_bytes,
                state_key=state_key,
                render_seconds=stored_at - began,
            )
            segments.delete_state(last_state_key)
            last_state_key = state_key
            if segment.index + 1 < len(plan.segments):
                lease.check_draining()
            test_scenarios.fail_while_rendering(render)
            began = stored_at


def assemble(claim: Claim, lease: Lease, render: Render, folder: Path) -> tuple[Path, Path]:
    """4. Assemble: join the recorded segments without encoding them again, and add the sound. Returns video, poster."""
    _enter(claim, lease, Phase.ASSEMBLING, progress.RENDERED)
    files = [fetch(segment.key, folder, lease) for segment in render.segments.all()]
    video = folder / "video.mp4"
    sound = sound_of(render, folder, lease)
    output_video.assemble_video(files, sound, plan_of(render).num_frames, video, on_joined=lease.moved_on)
    poster = folder / "poster.jpg"
    segment, number = poster_frame(files)
    output_video.save_poster(segment, poster, frame=number)
    return video, poster


def upload_and_finish(claim: Claim, lease: Lease, render: Render, video: Path, poster: Path, folder: Path) -> None:
    """5. Upload the video and its poster. 6. Finish: end the render and charge it, in one transaction.

    A transparent video comes between both: it is made last, so that it can cost no finished video.
    """
    lease.check()
    _enter(claim, lease, Phase.UPLOADING, progress.ASSEMBLED)
    video_key = media.store_video(video, render, claim, lease.report_upload)
    poster_key = media.store_video(poster, render, claim)
    alpha_key = ""
    if Parameters.resolve(render.parameters).background == TRANSPARENT:
        alpha_key = add_transparent_video(claim, lease, render, folder)
    transitions.finish(
        claim,
        video_key=video_key,
        poster_key=poster_key,
        alpha_key=alpha_key,
        duration_seconds=plan_of(render).num_frames / FPS,
    )


def _enter(claim: Claim, lease: Lease, phase: Phase, percent: int) -> None:
    progress.enter(claim, phase, progress=percent)
    lease.moved_on()


def _record(
    claim: Claim,
    lease: Lease,
    segment: RenderedSegment,
    plan: RenderPlan,
    *,
    key: str,
    num_bytes: int,
    state_key: str,
    render_seconds: float,
) -> None:
    """Record a stored segment, also through an outage of the database."""

    def record() -> None:
        progress.record_segment(
            claim,
            index=segment.index,
            key=key,
            num_bytes=num_bytes,
            frames=len(segment.frames),
            state_key=state_key,
            render_seconds=render_seconds,
            progress=progress.of_rendering((segment.index + 1) / len(plan.segments)),
        )

    retry_through_outage(record, check=lease.check)
    lease.moved_on()
