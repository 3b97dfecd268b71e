"""A still image in which one or more people talk, each with a voice."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from render.engines.draft.eyes import Eye, blink_curve
from render.engines.draft.head_motion import Head, head_curves, moved_box
from render.engines.draft.mouth.drawing import Mouth
from render.engines.draft.mouth.shape import MouthPose
from render.engines.draft.voice_features import SpeechTrack
from render.engines.draft.warp_grid import Box
from render.engines.draft.warped_image import WarpedImage
from render.engines.faces import Face, RgbImage


class Speaker:
    def __init__(
        self, moving: WarpedImage, face: Face, others: list[Face], speech: SpeechTrack, random: np.random.Generator
    ) -> None:
        image = moving.image
        height, width = image.shape[:2]
        self._speech = speech
        self._mouth = Mouth(image, face)
        self._eyes = [Eye(image, face, index) for index in (0, 1)]
        self._head = Head(moving.grid.points, height, width, face, others)
        self._curves = head_curves(speech.level, random)
        self._blinks = blink_curve(len(speech.level), random)  # last, because a longer video draws more random numbers

    def draw(self, frame: RgbImage, index: int) -> list[Box]:
        """Redraw the mouth and the eyes in a frame that equals the image. Returns the boxes that were redrawn."""
        boxes = [self._mouth.region]
        if self._blinks[index] > 0:
            for eye in self._eyes:
                eye.draw(frame, float(self._blinks[index]))
                boxes.append(eye.region)
        self._mouth.draw(frame, MouthPose(float(self._speech.opening[index]), float(self._speech.spread[index])))
        return boxes

    def shift(self, index: int) -> NDArray[np.float32]:
        return self._head.shift(self._curves, index)


class TalkingPortrait:
    """Every frame depends only on the arguments and its index, so that frames can be drawn in any order."""

    def __init__(
        self, image: RgbImage, faces: list[Face], still: list[Face], speeches: list[SpeechTrack], seed: int
    ) -> None:
        """faces: by voice. still: the other faces of the image, which do not move."""
        height, width = image.shape[:2]
        self._moving = WarpedImage(image, moved_box(faces, height, width))
        self._speakers = [
            Speaker(
                self._moving,
                face,
                [other for other in [*faces, *still] if other is not face],
                speech,
                np.random.default_rng([seed, number]),
            )
            for number, (face, speech) in enumerate(zip(faces, speeches, strict=True))
        ]

    def load(self, indices: Sequence[int]) -> dict[int, RgbImage]:
        """Nothing: every frame is drawn from the one image."""
        return {}

    def frame(self, index: int, source_frames: dict[int, RgbImage]) -> RgbImage:
        frame = self._moving.image.copy()
        redrawn = [box for speaker in self._speakers for box in speaker.draw(frame, index)]
        shift = np.sum([speaker.shift(index) for speaker in self._speakers], axis=0)
        self._moving.move(frame, shift, redrawn)
        return frame
