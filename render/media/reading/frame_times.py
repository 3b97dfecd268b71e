"""When the frames of a video are shown. Times count from the start of its first track, as those of its audio do."""

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from render.media.reading.gaps import BACKWARD, JUMP, JUMPING
from render.media.reading.opening import audio_track, video_track


def start_seconds(container: InputContainer) -> float:
    """The time stamp that players show as 0: the earlier one of the two tracks that they would play."""
    tracks: list[AudioStream | VideoStream | None] = [audio_track(container), video_track(container)]
    starts = [
        float(track.start_time * track.time_base)
        for track in tracks
        if track is not None and track.start_time is not None and track.time_base is not None
    ]
    return min(starts, default=0.0)


class FrameTimes:
    """Removes the pause where time stamps jump because two videos were joined end to end.

    `render.media.reading.gaps` has the same rule for the audio, so that both stay in sync.
    """

    def __init__(self, container: str, start: float) -> None:
        self._jumps = container in JUMPING
        self._expected = start  # seconds at which the next frame should be shown
        self._shift = 0.0  # seconds added to the time stamps

    def correct(self, frame: VideoFrame, usual_seconds: float) -> None:
        """Change the time stamp of the next frame. usual_seconds: the duration of a frame that does not tell it."""
        if frame.pts is None or frame.time_base is None:
            return
        tick = float(frame.time_base)
        late = frame.pts * tick + self._shift - self._expected
        if late < -BACKWARD or (self._jumps and late > JUMP):
            self._shift -= late
        frame.pts += round(self._shift / tick)
        self._expected = frame.pts * tick + (frame.duration * tick if frame.duration else usual_seconds)
