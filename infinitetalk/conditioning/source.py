"""The look of the person: a still image, or a video at 25 frames a second to be dubbed."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from infinitetalk.conditioning.audio import DECODE_ERRORS, open_media
from infinitetalk.conditioning.audio_encoder import FPS
from infinitetalk.conditioning.image import ImageArray
from infinitetalk.errors import InvalidInput
from infinitetalk.video_end import source_frame

Crop = tuple[int, int, int, int]  # top, left, height, width in pixels of the upright image
ROUNDING = 0.1  # of a frame's duration: many files round their times to milliseconds


class Source(Protocol):
    """The look of the person: an image, or a video at 25 frames a second to be dubbed."""

    is_still: bool

    def frame(self, number: int) -> ImageArray:
        """The frame with this number, which may lie past the end of a video."""


class StillImage:
    is_still = True

    def __init__(self, image: ImageArray) -> None:
        self._image = image

    def frame(self, number: int) -> ImageArray:
        """The image, whatever the number."""
        return self._image


class SourceVideo:
    """Decodes forward with one frame in memory; a request for an earlier frame starts again from the first.

    video_end: what is shown past the end, see `infinitetalk.video_end`.

    Raises InvalidInput `video_invalid` when the file has no frame, and in `frame` where the file is damaged.
    """

    is_still = False

    def __init__(self, path: Path, video_end: str = "hold") -> None:
        self._path = path
        self._video_end = video_end
        self._length: int | None = None  # number of frames; known once the end has been reached
        self._rewind()

    def frame(self, number: int) -> ImageArray:
        """The frame shown `number` / 25 seconds after the first, upright; past the end, as `video_end` says."""
        if self._length is None:
            self._seek(number)
        if self._length is not None:
            self._seek(source_frame(number, self._length, self._video_end))
        pixels = self._current.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
        return np.rot90(pixels, self._current.rotation // 90 % 4).copy()

    def _seek(self, number: int) -> None:
        """Make the frame with this number the current one, or the last frame when the number lies past the end."""
        if number < self._number:
            self._rewind()
        while self._number < number:
            following = next(self._frames, None)
            if following is None:
                self._length = self._number + 1
                break
            self._current = following
            self._number += 1

    def _rewind(self) -> None:
        self._frames = self._decode()
        first = next(self._frames, None)
        if first is None:
            raise InvalidInput("video_invalid", f"{self._path.name} has no frame that can be decoded.")
        self._number, self._current = 0, first

    def _decode(self) -> Iterator[av.VideoFrame]:
        """The frame shown at each 25th of a second, whatever the file's own rate is."""
        try:
            with open_media(self._path) as container:
                stream = next((stream for stream in container.streams.video if stream.codec_context), None)
                if stream is None:
                    return
                in_order = container.format.name == "avi"  # AVI stores no display times.
                period = 1 / (stream.average_rate or Fraction(FPS))
                shown: av.VideoFrame | None = None
                number, start, time = 0, Fraction(0), Fraction(0)
                for frame in container.decode(stream):
                    stamp = frame.dts if in_order else frame.pts
                    if stamp is None or frame.time_base is None:
                        time += period
                    else:
                        time = stamp * frame.time_base
                    if shown is None:
                        start = time
                    while shown is not None and (time - start) * FPS > number + ROUNDING:
                        yield shown
                        number += 1
                    shown = frame
                if shown is not None:
                    yield shown
        except DECODE_ERRORS as error:
            raise InvalidInput("video_invalid", f"{self._path.name} cannot be decoded.") from error


class CroppedSource:
    """The same part of every frame of another source."""

    def __init__(self, source: StillImage | SourceVideo, crop: Crop) -> None:
        self.is_still = source.is_still
        self._source = source
        self._top, self._left, self._height, self._width = crop

    def frame(self, number: int) -> ImageArray:
        """Raises InvalidInput `image_invalid` when the crop reaches outside the frame, and the source's own errors."""
        frame = self._source.frame(number)
        bottom, right = self._top + self._height, self._left + self._width
        if bottom > frame.shape[0] or right > frame.shape[1]:
            raise InvalidInput("image_invalid", "The part to be shown reaches outside the image.")
        return np.ascontiguousarray(frame[self._top : bottom, self._left : right])


def open_source(
    path: Path, crop: Crop | None = None, video_end: str = "hold"
) -> StillImage | SourceVideo | CroppedSource:
    """Open the file as an image if it is one, else as a video, and cut out `crop`.

    video_end: what a video shows past its end, see `infinitetalk.video_end`.

    Raises InvalidInput `image_invalid` or `video_invalid`.
    """
    source = _open(path, video_end)
    return source if crop is None else CroppedSource(source, crop)


def _open(path: Path, video_end: str) -> StillImage | SourceVideo:
    try:
        with Image.open(path) as image:
            return StillImage(_upright_rgb(image))
    except UnidentifiedImageError:
        return SourceVideo(path, video_end)
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
    ) as error:  # of damaged files
        raise InvalidInput("image_invalid", f"{path.name} cannot be read: {error}") from error


def _upright_rgb(image: Image.Image) -> ImageArray:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):  # Pillow would clip 16-bit values at 255: a white image.
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    return np.array(upright.convert("RGB"))
