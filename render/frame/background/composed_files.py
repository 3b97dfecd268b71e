"""The normalised source of a render, composed to frames of the render's size before an engine reads it."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from render.engines.base import FPS
from render.engines.faces import RgbImage
from render.frame.background.composition import Composition, FrameComposer
from render.frame.background.mask_edges import Mask
from render.frame.background.segmentation import PersonSegmenter, SmoothedMasks
from render.frame.background.video_frames import images_of, one_ahead
from render.media.atomic_file import atomic_file
from render.media.video.h264 import Rgb709Converter, add_h264_stream


def compose_portrait(source_png: Path, destination_png: Path, composition: Composition) -> bool:
    """Write a portrait as a PNG of exactly `composition.size`.

    Returns whether a person was cut out: not if the background is to be kept, and not if no person is found; then it is
    kept, too.
    """
    composer = FrameComposer(composition)
    with Image.open(source_png) as source:
        shown = composer.shown(np.asarray(source.convert("RGB")))
    mask = None
    if not composition.keeps_background:
        segmenter = PersonSegmenter()
        mask = segmenter.mask(shown) if segmenter.finds_person(shown) else None
    with atomic_file(destination_png) as partial:
        Image.fromarray(composer.frame(shown, mask)).save(partial, "PNG", compress_level=1)
    return mask is not None


def compose_video(
    source_mp4: Path,
    destination_mp4: Path,
    composition: Composition,
    *,
    check: Callable[[], None],
    moved_on: Callable[[], None],
) -> bool:
    """Write a video of `normalise_video` with frames of exactly `composition.size`, as many as it has.

    check: called before each frame; an exception from it ends the work and is raised here. moved_on: called after each
    frame. Returns as `compose_portrait`; a person is looked for in the key frames, one every two seconds. Equal inputs
    give equal bytes.
    """
    composer = FrameComposer(composition)
    segmenter = None if composition.keeps_background else PersonSegmenter()
    if segmenter is not None and not _shows_person(source_mp4, composer, segmenter, check):
        segmenter = None
    masks = SmoothedMasks()

    def shown_and_mask(image: RgbImage) -> tuple[RgbImage, Mask | None]:
        shown = composer.shown(image)
        mask = masks.next(segmenter.mask(shown), shown) if segmenter is not None else None
        return shown, mask

    convert = Rgb709Converter()
    height, width = composition.size
    with (
        atomic_file(destination_mp4) as partial,
        av.open(str(partial), mode="w", format="mp4", options={"fflags": "+bitexact"}) as target,
    ):
        video = add_h264_stream(target, width, height)
        for number, (shown, mask) in enumerate(one_ahead(shown_and_mask, images_of(source_mp4))):
            check()
            frame = convert(av.VideoFrame.from_ndarray(composer.frame(shown, mask), format="rgb24"))
            frame.pts = number
            frame.time_base = Fraction(1, FPS)
            target.mux(video.encode(frame))
            moved_on()
        target.mux(video.encode(None))
    return segmenter is not None


def _shows_person(video: Path, composer: FrameComposer, segmenter: PersonSegmenter, check: Callable[[], None]) -> bool:
    for image in images_of(video, only_key_frames=True):
        check()
        if segmenter.finds_person(composer.shown(image)):
            return True
    return False
