"""What an engine needs of a render: its files on this machine, its plan, the point from which it is resumed."""

from pathlib import Path
from typing import Any, cast

from render.engines.base import Checkpoint, FrameRange, RenderInputs, RenderPlan
from render.frame.boxes import Box, Crop, PixelBox
from render.lifecycle.lease import Lease
from render.models import Render, Segment
from render.sources import Sources
from render.storage import media


def fetch(key: str, folder: Path, lease: Lease) -> Path:
    """Download a stored file, unless the folder has it already. Raises as `media.fetch` and `lease.check`."""
    lease.check()
    path = media.fetch(key, folder)
    lease.moved_on()
    return path


def inputs_of(render: Render, sources: Sources, folder: Path, lease: Lease) -> RenderInputs:
    return RenderInputs(
        portrait=fetch(sources["portrait"], folder, lease) if sources["portrait"] else None,
        video=fetch(sources["video"], folder, lease) if sources["video"] else None,
        voices=tuple(fetch(key, folder, lease) for key in sources["voices"]),
        prompt=render.prompt,
    )


def sources_of(render: Render) -> Sources:
    """`render` must be prepared."""
    return cast(Sources, render.sources)


def sound_of(render: Render, folder: Path, lease: Lease) -> list[tuple[Path, float]]:
    """The files of the video's sound, each with the second at which it starts."""
    return [(fetch(key, folder, lease), offset) for key, offset in sources_of(render)["sound"]]


def plan_of(render: Render) -> RenderPlan:
    """Names that a newer version has added are ignored: nodes of two versions work on the same renders."""
    stored = cast(dict[str, Any], render.plan)
    sources = cast(dict[str, Any], render.sources or {})
    crop, shown = sources.get("crop"), sources.get("shown", {})
    return RenderPlan(
        stored["width"],
        stored["height"],
        stored["num_frames"],
        tuple(FrameRange(span["start"], span["stop"]) for span in stored["segments"]),
        crop=cast(Crop, tuple(crop)) if crop else None,
        faces=tuple(map(Box.from_json, shown.get("faces", []))),
        regions=tuple(tuple(cast(PixelBox, tuple(box)) for box in boxes) for boxes in shown.get("regions", [])),
        mark=Box.from_json(shown["mark"]) if shown.get("mark") else None,
    )


def checkpoint_after(segment: Segment | None, folder: Path) -> Checkpoint | None:
    """segment: the last recorded one, None if there is none."""
    if segment is None:
        return None
    state = media.fetch(segment.state_key, folder).read_bytes() if segment.state_key else None
    return Checkpoint(next_segment=segment.index + 1, state=state)
