"""The transparent video: a finished render without its background, as WebM with VP9 and alpha, for web pages."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from render.engines.base import FPS
from render.engines.faces import RgbImage
from render.frame.background.mask_edges import Mask, person_colors
from render.frame.background.segmentation import PersonSegmenter, SmoothedMasks
from render.frame.background.video_frames import images_of, one_ahead
from render.frame.boxes import PixelBox
from render.media.atomic_file import atomic_file
from render.media.audio.aac import encode_mix
from render.media.audio.mix import AudioMix, open_mix
from render.media.video.h264 import Rgb709Converter, set_bt709
from render.media.video.output_video import AI_GENERATED

OPUS_RATE = 48_000  # Hz, the only full rate of Opus
OPUS_BIT_RATES = {"mono": 96_000, "stereo": 128_000}
PLATE = 40  # level of the plate of a mark
LETTERS_FROM = 165  # levels: the draft's mark darkens what is behind it to at most 158, and its letters are above 216
VP9_OPTIONS = {
    "crf": "24",
    "b": "0",
    "deadline": "realtime",
    "cpu-used": "7",
    "auto-alt-ref": "0",  # hidden frames would have no alpha
    "lag-in-frames": "0",
    "row-mt": "0",
    "flags": "+bitexact",
}
THREADS = 1  # the number must not depend on the machine


def write_alpha_video(
    segments: Sequence[Path],
    voices: Sequence[tuple[Path, float]],
    num_frames: int,
    destination_webm: Path,
    *,
    opaque: PixelBox | None = None,
    on_progress: Callable[[float], None] = lambda share: None,
) -> bool:
    """Cut the person out of each frame of segments (of `encode_segment`, in order); mix the voices as in the mp4.

    opaque: a part of the frame with a mark, white letters on a dark plate, which stays visible. on_progress: called
    after each frame with the share that is done. Returns False, and writes nothing, when no segment begins with a
    person in sight. Straight alpha: colors are not premultiplied. Equal inputs give equal bytes on processors of one
    kind. Raises ValueError when the segments do not add up to `num_frames`, and ServiceError audio_invalid when a voice
    cannot be decoded.
    """
    segmenter, masks = PersonSegmenter(), SmoothedMasks()
    first_images = (next(images_of(segment)) for segment in segments)
    if not any(map(segmenter.finds_person, first_images)):
        return False

    def image_and_mask(image: RgbImage) -> tuple[RgbImage, Mask]:
        return image, masks.next(segmenter.mask(image), image)

    with (
        atomic_file(destination_webm) as partial,
        ExitStack() as files,
        av.open(str(partial), mode="w", format="webm", options={"fflags": "+bitexact"}) as output,
    ):
        output.metadata.update({"comment": AI_GENERATED, "description": AI_GENERATED})
        height, width = next(images_of(segments[0])).shape[:2]
        video = _add_vp9_stream(output, width, height)
        mix = open_mix(voices, files)
        audio = _add_opus_stream(output, mix)
        transparent = _TransparentFrames(opaque)
        count = 0
        # The mix has no end: the frames decide.
        cut_out = one_ahead(image_and_mask, chain.from_iterable(map(images_of, segments)))
        for (image, mask), audio_packets in zip(cut_out, encode_mix(audio, mix), strict=False):
            frame = transparent.frame(image, mask)
            frame.pts = count
            frame.time_base = Fraction(1, FPS)
            output.mux(video.encode(frame))
            output.mux(audio_packets)
            count += 1
            on_progress(count / num_frames)
        output.mux(video.encode(None))
        output.mux(audio.encode(None))
        if count != num_frames:
            raise ValueError(f"{count} frames in the segments instead of {num_frames}")
    return True


class _TransparentFrames:
    def __init__(self, opaque: PixelBox | None) -> None:
        self._opaque = opaque
        self._convert = Rgb709Converter()

    def frame(self, image: RgbImage, mask: Mask) -> av.VideoFrame:
        colors, alpha = np.rint(person_colors(image, mask)).astype(np.uint8), np.rint(255 * mask).astype(np.uint8)
        if self._opaque is not None:
            top, left, bottom, right = self._opaque
            box = np.s_[top:bottom, left:right]
            # On a plain plate: the room behind the letters is gone, too.
            letters = np.clip((image[box].min(axis=2, keepdims=True).astype(np.float32) - LETTERS_FROM) / 40, 0, 1)
            colors[box], alpha[box] = np.rint(PLATE + (255 - PLATE) * letters).astype(np.uint8), 255
        without_alpha = self._convert(av.VideoFrame.from_ndarray(colors, format="rgb24"))
        frame = av.VideoFrame(image.shape[1], image.shape[0], "yuva420p")
        for to, plane in zip(frame.planes, without_alpha.planes, strict=False):
            _pixels(to)[:] = _pixels(plane)
        _pixels(frame.planes[3])[:] = alpha
        return frame


def _pixels(plane: av.video.plane.VideoPlane) -> NDArray[np.uint8]:
    """The plane's memory. Without the padding at the end of each row."""
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
    pixels: NDArray[np.uint8] = rows[:, : plane.width]
    return pixels


def _add_vp9_stream(container: OutputContainer, width: int, height: int) -> VideoStream:
    stream = container.add_stream("libvpx-vp9", rate=FPS, options=VP9_OPTIONS)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuva420p"
    stream.gop_size = 2 * FPS
    stream.metadata["alpha_mode"] = "1"  # by it a player knows that there is alpha
    stream.codec_context.thread_count = THREADS
    set_bt709(stream.codec_context)
    return stream


def _add_opus_stream(container: OutputContainer, mix: AudioMix) -> AudioStream:
    stream = container.add_stream("libopus", rate=OPUS_RATE, layout=mix.layout, options={"flags": "+bitexact"})
    stream.bit_rate = OPUS_BIT_RATES[mix.layout]
    return stream
