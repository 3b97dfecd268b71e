"""How a film is made, from the claim to the finished row: prepare, render, assemble, upload, finish.

Every step may be broken off anywhere and done again: sources are stored by content, a recorded segment is never
rendered twice, and everything from the joined film on is made from the recorded segments.
"""

import logging
import tempfile
import time
import traceback
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

from accounts.errors import ServiceError
from render.cluster.db_retry import outlast
from render.engines import registry
from render.engines.base import FPS, Checkpoint, Crop, FrameRange, Plan, RenderInputs
from render.fence import CancelRequested, Claim, Fenced
from render.lifecycle import progress, retries, transitions
from render.lifecycle.lease import Draining, RenderLease
from render.lifecycle.planned_segments import WrongSegments, require_planned_segments
from render.machine.work_folder import work_folder
from render.media.video import output_video, segment_file
from render.media.video.segment_audio import open_segment_sound
from render.models import Phase, Render, Segment
from render.node_faults import NodeFault, recognised
from render.parameters import Parameters
from render.pipeline import segments as pieces
from render.pipeline import test_scenarios
from render.pipeline.preparation import prepare_sources
from render.queue import tickets
from render.sources import Sources
from render.speech.base import SpeechUnavailable
from render.storage import media
from render.storage.errors import StorageFailure

logger = logging.getLogger(__name__)


def run(claim: Claim) -> None:
    """Do a claimed render as far as this node can, and write down how it ended."""
    started = time.monotonic()
    with RenderLease(claim) as lease:
        try:
            with recognised(), work_folder(claim) as folder:
                # What the database cannot take now is done again from the last segment, by the same attempt.
                outlast(lambda: _make_film(claim, lease, Path(tempfile.mkdtemp(dir=folder))), check=lease.check)
        except Fenced:
            logger.info("Render %s attempt %d was ended by somebody else", claim.render_id, claim.attempt)
        except CancelRequested:
            _unless_fenced(transitions.cancel, claim)
        except Draining:
            _unless_fenced(transitions.hand_back, claim)
        except NodeFault as fault:
            logger.warning("Render %s is handed back: %s", claim.render_id, fault)
            trace = traceback.format_exc()
            _unless_fenced(transitions.hand_back_for_fault, claim, str(fault), trace=trace, variant=fault.variant)
        except ServiceError as error:
            logger.info("Render %s failed: %s", claim.render_id, error.code)
            _unless_fenced(transitions.fail, claim, error, trace=traceback.format_exc())
        except StorageFailure as failure:
            _storage_failed(claim, failure)
        except (media.MissingObject, media.DamagedObject) as lost_object:
            logger.warning("Render %s: the storage has lost or damaged %s", claim.render_id, lost_object)
            lost = ServiceError("work_lost", "Files of the render were lost, also when it was begun anew.")
            _unless_fenced(retries.retry_later, claim, lost, trace=traceback.format_exc(), anew=True)
        except SpeechUnavailable as failure:
            logger.warning("Render %s: speech: %s", claim.render_id, failure)
            speech = ServiceError("speech_failed", "The speech engine does not answer.", param="script")
            _unless_fenced(retries.retry_later, claim, speech, trace=traceback.format_exc())
        except WrongSegments as wrong:
            logger.error("%s", wrong)
            _unless_fenced(retries.render_again, claim, wrong, trace=traceback.format_exc())
        except Exception:  # Anything else may pass: a network that is away, a bug. Never lose the render.
            logger.exception("Render %s attempt %d failed", claim.render_id, claim.attempt)
            internal = ServiceError("internal", "The render failed because of an internal error.")
            _unless_fenced(retries.retry_later, claim, internal, trace=traceback.format_exc())
    logger.info("Render %s attempt %d: %.1f s", claim.render_id, claim.attempt, time.monotonic() - started)


def _make_film(claim: Claim, lease: RenderLease, folder: Path) -> None:
    render = Render.objects.select_related("tenant__plan").get(pk=claim.render_id)
    if render.sources is None:
        test_scenarios.act_before_rendering(render)
        prepare(claim, lease, render, folder)
        render.refresh_from_db()
    if render.segments.count() != render.segments_total:
        if registry.queue_of(render.engine) != render.queue:
            transitions.hand_over(claim, registry.queue_of(render.engine), Phase.WAITING)
            return
        render_segments(claim, lease, render, folder)
    if render.queue != transitions.COMMON_QUEUE and tickets.has_waiting(render.queue):
        # This node has better to do.
        transitions.hand_over(claim, transitions.COMMON_QUEUE, Phase.ASSEMBLING)
        return
    require_planned_segments(render)
    video = assemble(claim, lease, render, folder)
    upload_and_finish(claim, lease, render, video, folder)


def prepare(claim: Claim, lease: RenderLease, render: Render, folder: Path) -> None:
    """Fetch, check and normalise the sources, plan the film, and set the hold to its true price."""
    _enter(claim, lease, Phase.PREPARE, 1)
    engine = registry.get(render.engine)
    parameters = Parameters.resolve(render.parameters)
    sources, warnings = prepare_sources(
        render,
        min_audio_seconds=engine.min_audio_seconds,
        num_frames=parameters.frame_num,
        folder=folder,
        check=lease.check,
        moved_on=lease.moved_on,
    )
    plan = engine.plan(_inputs(render, sources, folder, lease), parameters)
    # Not in the plan: a node of an older version ends a render whose plan holds a name that it does not know.
    stored = asdict(plan)
    variant, crop = stored.pop("variant"), stored.pop("crop")
    if crop is not None:
        sources["crop"] = crop
    progress.prepared(
        claim,
        sources=sources,
        warnings=warnings,
        plan=stored,
        variant=variant,
        num_frames=plan.num_frames,
        segments_total=len(plan.segments),
    )


def render_segments(claim: Claim, lease: RenderLease, render: Render, folder: Path) -> None:
    """Render what no earlier attempt has recorded, each segment stored before it is recorded."""
    _enter(claim, lease, Phase.LOADING, render.progress)
    engine = registry.get(render.engine)
    plan = _plan(render)
    last = render.segments.last()
    checkpoint = _checkpoint(last, folder) if last else None
    last_state = last.state_key if last else ""
    inputs = _inputs(render, _sources(render), folder, lease)
    segments = engine.segments(inputs, Parameters.resolve(render.parameters), plan, checkpoint, lease)
    voices = _sound(render, folder, lease)
    with open_segment_sound(voices, plan.num_frames, tell_dropped=lease.moved_on) as sound:
        mark = time.monotonic()
        for segment in segments:
            lease.check()
            lease.moved_on()  # Already here: to store it may take as long as the storage is waited for.
            path = folder / f"segment-{segment.index:05d}.ts"
            start = plan.segments[segment.index].start
            segment_file.encode_segment(segment.frames, path, start_frame=start, sound=sound)
            num_bytes = path.stat().st_size
            key = pieces.store(path, render, claim, lease)
            now = time.monotonic()
            state_key = pieces.store_state(segment, render, claim, lease, folder)
            record = partial(
                progress.record_segment,
                claim,
                index=segment.index,
                key=key,
                num_bytes=num_bytes,
                frames=len(segment.frames),
                state_key=state_key,
                render_seconds=now - mark,
                progress=progress.of_rendering((segment.index + 1) / len(plan.segments)),
            )
            outlast(record, check=lease.check)
            lease.moved_on()
            pieces.forget_state(last_state)
            last_state = state_key
            if segment.index + 1 < len(plan.segments):
                lease.check_draining()
            test_scenarios.act_while_rendering(render)
            mark = now


def assemble(claim: Claim, lease: RenderLease, render: Render, folder: Path) -> Path:
    """Join the recorded segments by packet copy and add the voice."""
    _enter(claim, lease, Phase.ASSEMBLING, progress.RENDERED)
    segments = [_fetch(segment.key, folder, lease) for segment in render.segments.all()]
    video = folder / "film.mp4"
    sound = _sound(render, folder, lease)
    output_video.assemble_film(segments, sound, _plan(render).num_frames, video, tell_joined=lease.moved_on)
    output_video.poster(segments[0], folder / "poster.jpg")
    return video


def upload_and_finish(claim: Claim, lease: RenderLease, render: Render, video: Path, folder: Path) -> None:
    """Store the film and end the render in one transaction."""
    lease.check()
    _enter(claim, lease, Phase.UPLOADING, progress.ASSEMBLED)
    video_key = media.store_film(video, render, claim, lease.report_upload)
    poster_key = media.store_film(folder / "poster.jpg", render, claim)
    transitions.finish(
        claim,
        video_key=video_key,
        poster_key=poster_key,
        duration_seconds=_plan(render).num_frames / FPS,
    )


def _enter(claim: Claim, lease: RenderLease, phase: Phase, percent: int) -> None:
    progress.enter(claim, phase, progress=percent)
    lease.moved_on()


def _fetch(key: str, folder: Path, lease: RenderLease) -> Path:
    lease.check()
    path = media.fetch(key, folder)
    lease.moved_on()
    return path


def _inputs(render: Render, sources: Sources, folder: Path, lease: RenderLease) -> RenderInputs:
    def local(key: str | None) -> Path | None:
        return _fetch(key, folder, lease) if key else None

    return RenderInputs(
        portrait=local(sources["portrait"]),
        video=local(sources["video"]),
        voices=tuple(_fetch(key, folder, lease) for key in sources["voices"]),
        prompt=render.prompt,
    )


def _sources(render: Render) -> Sources:
    return cast(Sources, render.sources)


def _sound(render: Render, folder: Path, lease: RenderLease) -> list[tuple[Path, float]]:
    return [(_fetch(key, folder, lease), offset) for key, offset in _sources(render)["sound"]]


def _plan(render: Render) -> Plan:
    """What a newer version has written beside it is left out: nodes of two versions work on the same renders."""
    stored = cast(dict[str, Any], render.plan)
    segments = tuple(FrameRange(span["start"], span["stop"]) for span in stored["segments"])
    crop = (render.sources or {}).get("crop") or stored.get("crop")  # in the plan for some weeks
    return Plan(
        stored["width"],
        stored["height"],
        stored["num_frames"],
        segments,
        crop=cast(Crop, tuple(crop)) if crop else None,
    )


def _checkpoint(segment: Segment, folder: Path) -> Checkpoint:
    state = media.fetch(segment.state_key, folder).read_bytes() if segment.state_key else None
    return Checkpoint(next_segment=segment.index + 1, state=state)


def _storage_failed(claim: Claim, failure: StorageFailure) -> None:
    """The render is kept, and goes on from what is stored; nothing is rendered twice because of it."""
    logger.warning("Render %s: %s", claim.render_id, failure)
    detail = f"The media storage did not take or give a file (reason: {failure.reason.word})."
    error = ServiceError("upload_failed", detail)
    if failure.reason.passes_later:
        _unless_fenced(retries.retry_later, claim, error, trace=traceback.format_exc(), of_storage=True)
    else:
        _unless_fenced(transitions.fail, claim, error, trace=traceback.format_exc())


def _unless_fenced(end, *arguments, **named) -> None:  # type: ignore[no-untyped-def]
    try:
        outlast(partial(end, *arguments, **named))
    except Fenced:
        logger.info("The render was ended by somebody else meanwhile")
