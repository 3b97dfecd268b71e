"""What the person looks like: a still picture, or a video to be dubbed, at 25 frames a second."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from infinitetalk.conditioning.audio import DECODE_ERRORS, open_media
from infinitetalk.conditioning.audio_encoder import FPS
from infinitetalk.conditioning.image import Picture
from infinitetalk.errors import InvalidInput

Crop = tuple[int, int, int, int]  # top, left, height, width in pixels of the upright picture
ROUNDING = 0.1  # of a frame: times in files are rounded, to milliseconds in many


class StillPicture:
    is_still = True

    def __init__(self, picture: Picture) -> None:
        self._picture = picture

    def frame(self, number: int) -> Picture:
        """The picture, upright, whatever the number."""
        return self._picture


class SourceVideo:
    """Decodes forward only, one frame in memory; an earlier frame than the last one asked starts again.

    Raises InvalidInput `video_invalid` when it holds no picture, and in `frame` where the file is damaged.
    """

    is_still = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rewind()

    def frame(self, number: int) -> Picture:
        """The frame shown `number` 25ths of a second after the first one, upright; the last when there are no more."""
        if number < self._number:
            self._rewind()
        while self._number < number:
            following = next(self._frames, None)
            if following is None:
                break
            self._current = following
            self._number += 1
        pixels = self._current.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
        return np.rot90(pixels, self._current.rotation // 90 % 4).copy()

    def _rewind(self) -> None:
        self._frames = self._decode()
        first = next(self._frames, None)
        if first is None:
            raise InvalidInput("video_invalid", f"{self._path.name} holds no picture that can be decoded.")
        self._number, self._current = 0, first

    def _decode(self) -> Iterator[av.VideoFrame]:
        """The frame shown at each 25th of a second, whatever the file's own rate."""
        try:
            with open_media(self._path) as container:
                stream = next((stream for stream in container.streams.video if stream.codec_context), None)
                if stream is None:
                    return
                in_order = container.format.name == "avi"  # It stores no times of display.
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
    """A part of another source, in all its frames."""

    def __init__(self, source: StillPicture | SourceVideo, crop: Crop) -> None:
        self.is_still = source.is_still
        self._source = source
        self._top, self._left, self._height, self._width = crop

    def frame(self, number: int) -> Picture:
        """Raises InvalidInput `image_invalid` when the part lies outside of the frame, and what the source raises."""
        frame = self._source.frame(number)
        bottom, right = self._top + self._height, self._left + self._width
        if bottom > frame.shape[0] or right > frame.shape[1]:
            raise InvalidInput("image_invalid", "The part to be shown lies outside of the picture.")
        return np.ascontiguousarray(frame[self._top : bottom, self._left : right])


def open_source(path: Path, crop: Crop | None = None) -> StillPicture | SourceVideo | CroppedSource:
    """A picture if the file is one, else a video; of either this part. Raises InvalidInput `image_invalid` or
    `video_invalid`.
    """
    source = _open(path)
    return source if crop is None else CroppedSource(source, crop)


def _open(path: Path) -> StillPicture | SourceVideo:
    try:
        with Image.open(path) as image:
            return StillPicture(_upright_rgb(image))
    except UnidentifiedImageError:
        return SourceVideo(path)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # Pillow's of damaged files
        raise InvalidInput("image_invalid", f"{path.name} cannot be read: {error}") from error


def _upright_rgb(image: Image.Image) -> Picture:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):  # Pillow would clip 16 bits to 8, which is white.
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    return np.array(upright.convert("RGB"))
