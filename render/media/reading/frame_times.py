"""When the frames of a film are shown: counted from where the first of its tracks begins, as the sound is."""

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from render.media.reading.demux import moving_picture, sound_track
from render.media.reading.gaps import BACKWARD, JUMP, JUMPING


def start_seconds(container: InputContainer) -> float:
    """What players show as 0: the first time stamp of the two tracks that they would play."""
    tracks: list[AudioStream | VideoStream | None] = [sound_track(container), moving_picture(container)]
    starts = [
        float(track.start_time * track.time_base)
        for track in tracks
        if track is not None and track.start_time is not None and track.time_base is not None
    ]
    return min(starts, default=0.0)


class FilmTimes:
    """Lets a film go on without a pause where its time stamps jump: where two were joined end to end.

    `render.media.reading.gaps` has the same rule, so that both stay together.
    """

    def __init__(self, container: str, start: float) -> None:
        self._jumps = container in JUMPING
        self._expected = start  # seconds, when the next frame should be shown
        self._shift = 0.0  # seconds, that the frames are shown later than they say

    def correct(self, frame: VideoFrame, usual_seconds: float) -> None:
        """Change the time stamp of the next frame. usual_seconds: how long one lasts that does not say so."""
        if frame.pts is None or frame.time_base is None:
            return
        tick = float(frame.time_base)
        late = frame.pts * tick + self._shift - self._expected
        if late < -BACKWARD or (self._jumps and late > JUMP):
            self._shift -= late
        frame.pts += round(self._shift / tick)
        self._expected = frame.pts * tick + (frame.duration * tick if frame.duration else usual_seconds)
