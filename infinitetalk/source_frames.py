"""What the person looks like: a still picture, or a video to be dubbed, at 25 frames a second."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from infinitetalk.errors import InvalidInput
from infinitetalk.picture import Picture
from infinitetalk.speech_features import FPS


class StillPicture:
    is_still = True

    def __init__(self, picture: Picture) -> None:
        self._picture = picture

    def frame(self, number: int) -> Picture:
        return self._picture


class SourceVideo:
    """Decodes forward only, one frame in memory; an earlier frame than the last one asked starts again."""

    is_still = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rewind()

    def frame(self, number: int) -> Picture:
        """The frame with this number at 25 a second; the last one when there are no more."""
        if number < self._number:
            self._rewind()
        while self._number < number:
            following = next(self._frames, None)
            if following is None:
                break
            self._current = following
            self._number += 1
        return self._current

    def _rewind(self) -> None:
        self._frames = self._decode()
        first = next(self._frames, None)
        if first is None:
            raise InvalidInput("video_invalid", f"{self._path.name} holds no picture that can be decoded.")
        self._number, self._current = 0, first

    def _decode(self) -> Iterator[Picture]:
        """The frame shown at each 25th of a second, whatever the file's own rate."""
        try:
            with av.open(str(self._path)) as container:
                if not container.streams.video:
                    return
                shown: Picture | None = None
                number, start = 0, None
                for frame in container.decode(container.streams.video[0]):
                    start = frame.time if start is None else start
                    # Half a frame's tolerance: times in files are rounded.
                    while shown is not None and (frame.time - start) * FPS > number + 0.5:
                        yield shown
                        number += 1
                    pixels = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
                    shown = np.rot90(pixels, frame.rotation // 90 % 4).copy()
                if shown is not None:
                    yield shown
        except av.error.FFmpegError as error:
            raise InvalidInput("video_invalid", f"{self._path.name} cannot be decoded.") from error


def open_source(path: Path) -> StillPicture | SourceVideo:
    """A picture if the file is one, else a video. Raises InvalidInput `image_invalid` or `video_invalid`."""
    try:
        with Image.open(path) as image:
            picture = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
            return StillPicture(np.ascontiguousarray(picture))
    except UnidentifiedImageError:
        return SourceVideo(path)
    except (OSError, Image.DecompressionBombError) as error:
        raise InvalidInput("image_invalid", f"{path.name} cannot be read: {error}") from error
