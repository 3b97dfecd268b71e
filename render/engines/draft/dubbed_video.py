"""A video dubbed with new voices: the mouths of its speakers follow them, all else stays as it was recorded."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from accounts.errors import ServiceError
from infinitetalk.video_end import source_frame
from render.engines import no_face
from render.engines.base import FPS
from render.engines.draft.mouth.drawing import Mouth
from render.engines.draft.mouth.look import Look, steady
from render.engines.draft.mouth.shape import MouthPose
from render.engines.draft.voice_features import SpeechTrack
from render.engines.faces import MAX_YAW, Face, FaceFinder, RgbImage
from render.engines.speaking_faces import speaking_faces
from render.frame.boxes import Box, Crop
from render.frame.fit import fit
from render.frame.shot import MIN_FACE

SEARCH_EVERY = 5  # frames; a search costs as much as following a face through ten frames
PROBE_EVERY = 12  # frames
RAMP = 5  # frames in which the new mouth replaces the recorded one, after a face has come into view
MIN_FOLLOWED_SCORE = 0.8  # of the mesh, for a face that is followed; motion blur lowers it
TURNING_TOLERANCE = 10.0  # degrees that a face may be turned further than when it was found


class SourceFrames:
    """The frames of an mp4 at FPS, scaled and cropped for the render. They are decoded anew with each call."""

    def __init__(self, path: Path, height: int, width: int, crop: Crop | None = None) -> None:
        self._path = path
        self._height, self._width, self._crop = height, width, crop

    def frames(self, start: int = 0, every: int = 1) -> Iterator[tuple[int, RgbImage]]:
        """Yield (index, H x W x 3) from `start` on, for each index that is a multiple of `every`."""
        with av.open(str(self._path)) as container:
            stream = container.streams.video[0]
            time_base = stream.time_base
            assert time_base is not None
            first = (stream.start_time or 0) * time_base
            if start:
                container.seek(int((start / FPS + float(first)) / time_base), stream=stream)
            for decoded in container.decode(stream):
                assert decoded.pts is not None
                index = round(float((decoded.pts * time_base - first) * FPS))
                if index >= start and index % every == 0:
                    image = np.asarray(decoded.to_ndarray(format="rgb24"), np.uint8)
                    yield index, np.ascontiguousarray(fit(image, self._height, self._width, self._crop))

    def read(self, indices: Sequence[int]) -> dict[int, RgbImage]:
        """The frames of these indices, all in memory."""
        needed = set(indices)
        frames: dict[int, RgbImage] = {}
        for index, image in self.frames(min(needed)):
            if index in needed:
                frames[index] = image
            if len(frames) == len(needed):
                break
        return frames


def check_faces(source: SourceFrames, count: int, boxes: Sequence[Box]) -> None:
    """Raise ServiceError `no_face` or `face_cropped` when no probed frame shows `count` faces that can be moved, or
    those in the boxes.
    """
    finder = FaceFinder()
    problem = no_face.none_found("video")
    for _, image in source.frames(every=PROBE_EVERY):
        faces = finder.find_all(image)
        try:
            speaking_faces(faces, count, boxes, image)
            return
        except ServiceError as error:
            if faces:  # this error tells more than that there is no face
                problem = error
    raise problem


class DubbedVideo:
    """Follows all faces through the video first, so that each frame depends on its index alone."""

    def __init__(
        self,
        source: SourceFrames,
        speeches: list[SpeechTrack],
        num_frames: int,
        boxes: Sequence[Box],
        video_end: str,
    ) -> None:
        """boxes: of the speakers in the first frame that shows them, if they were chosen. video_end: what follows the
        last frame of a video that is shorter than `num_frames`.
        """
        self._source = source
        self._speeches = speeches
        self._video_end = video_end
        self._tracks, looks = _follow(source, len(speeches), num_frames, boxes)
        self._looks = [steady(track) for track in looks]
        self._strengths = [_strength(track) for track in self._tracks]
        self._length = len(self._tracks[0])

    def source_index(self, index: int) -> int:
        return source_frame(index, self._length, self._video_end)

    def load(self, indices: Sequence[int]) -> dict[int, RgbImage]:
        """The source frames from which `frame` draws these indices."""
        return self._source.read([self.source_index(index) for index in indices])

    def frame(self, index: int, source_frames: dict[int, RgbImage]) -> RgbImage:
        at = self.source_index(index)
        frame = source_frames[at].copy()
        for track, looks, strengths, speech in zip(
            self._tracks, self._looks, self._strengths, self._speeches, strict=True
        ):
            face = track[at]
            if face is None:
                continue
            mouth = Mouth(source_frames[at], face, looks[at])
            recorded = mouth.shape.natural_pose
            share = float(strengths[at])
            opening = recorded.opening + (float(speech.opening[index]) - recorded.opening) * share
            spread = recorded.spread + (float(speech.spread[index]) - recorded.spread) * share
            mouth.draw(frame, MouthPose(opening, spread))
        return frame


def _follow(
    source: SourceFrames, count: int, num_frames: int, boxes: Sequence[Box]
) -> tuple[list[list[Face | None]], list[list[Look | None]]]:
    """By voice, as requested, and by source frame: the face, smoothed over time, and its mouth's look; None where the
    face cannot be moved.
    """
    finder = FaceFinder()
    tracks: list[list[Face | None]] = [[] for _ in range(count)]
    last: list[Face | None] = [None] * count
    visible = [False] * count
    bystanders: list[Face] = []
    searched = -SEARCH_EVERY
    smooth: list[list[Face | None]] = [[] for _ in range(count)]
    looks: list[list[Look | None]] = [[] for _ in range(count)]

    def look_at(image: RgbImage) -> None:
        for track, faces, seen in zip(tracks, smooth, looks, strict=True):
            face = _smooth(track, len(faces))
            faces.append(face)
            before = seen[-1] if seen else None
            seen.append(Look.at(image, face, in_film=True, before=before) if face else None)

    waiting: RgbImage | None = None  # a face is smoothed when the next frame is known
    for index, image in source.frames():
        if index >= num_frames:
            break
        for speaker, face in enumerate(last):
            if face is not None and visible[speaker]:
                followed = finder.follow(image, face)
                visible[speaker] = _can_be_moved(followed)
                last[speaker] = followed if visible[speaker] else face
        if not all(visible) and index - searched >= SEARCH_EVERY:
            searched = index
            _take_up(finder.find_all(image), last, visible, bystanders, boxes, image)
        for speaker, track in enumerate(tracks):
            track.append(last[speaker] if visible[speaker] else None)
        if waiting is not None:
            look_at(waiting)
        waiting = image
    if waiting is not None:
        look_at(waiting)
    return smooth, looks


def _can_be_moved(face: Face) -> bool:
    is_turned = abs(face.yaw) > MAX_YAW + TURNING_TOLERANCE
    return face.score >= MIN_FOLLOWED_SCORE and face.width >= MIN_FACE and not is_turned


def _take_up(
    faces: list[Face],
    last: list[Face | None],
    visible: list[bool],
    bystanders: list[Face],
    boxes: Sequence[Box],
    image: RgbImage,
) -> None:
    """Find the speakers who were out of sight again: the face nearest to the last one of each. Updates the lists.

    While a speaker is turned away or hidden, the voice does not go over to somebody else: a face that is nearer to
    where a bystander was seen last is the bystander's.
    """
    if all(face is None for face in last):
        try:
            last[:] = speaking_faces(faces, len(last), boxes, image)
            visible[:] = [True] * len(last)
            bystanders[:] = [face for face in faces if not any(face is speaker for speaker in last)]
        except ServiceError:
            pass  # not all speakers are in view yet
        return
    taken = [face for face, seen in zip(last, visible, strict=True) if seen and face is not None]
    free = [face for face in faces if face.width >= MIN_FACE and not any(_near(face, other) for other in taken)]
    for speaker, before in enumerate(last):
        if before is None or visible[speaker]:
            continue
        own = [face for face in free if all(_distance(face, before) <= _distance(face, other) for other in bystanders)]
        nearest = min(own, key=lambda face: _distance(face, before), default=None)
        if nearest is not None and _can_be_moved(nearest):
            free = [face for face in free if face is not nearest]
            last[speaker], visible[speaker] = nearest, True
    bystanders[:] = [next((face for face in free if _near(face, other)), other) for other in bystanders]


def _distance(face: Face, other: Face) -> float:
    """Pixels between their middles."""
    return float(np.linalg.norm(face.centre - other.centre))


def _near(face: Face, other: Face) -> bool:
    return _distance(face, other) < 0.5 * other.width


def _smooth(track: list[Face | None], index: int) -> Face | None:
    """A face with the mean landmarks of neighbouring frames, because they jitter by about a pixel."""
    face = track[index]
    if face is None:
        return None
    before = track[index - 1] if index else None
    after = track[index + 1] if index + 1 < len(track) else None
    kin = (before or face, face, face, after or face)
    points = np.mean([other.points for other in kin], axis=0)
    depth = np.mean([other.depth for other in kin], axis=0)
    return Face(points, depth, face.score)


def _strength(track: list[Face | None]) -> NDArray[np.float32]:
    """From 0 to 1 for each frame: rises after a face has come into view, and falls before it leaves."""
    seen = np.array([face is not None for face in track], np.float32)
    strength = seen.copy()
    for reach in range(1, RAMP):
        strength[reach:] = np.minimum(strength[reach:], seen[:-reach] + reach / RAMP)
        strength[:-reach] = np.minimum(strength[:-reach], seen[reach:] + reach / RAMP)
    return strength
