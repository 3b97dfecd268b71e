"""What a video costs to decode, counted packet by packet before each goes to the decoder.

A file of a kilobyte can hold thousands of frames of the largest size that all fall into one 25th of a second, or before
the first frame that is shown. Without this limit all of them would be decoded, and none of them shown.
"""

from typing import Any

from av.packet import Packet

from accounts.errors import ServiceError
from render.media.reading.gaps import BACKWARD, JUMP, JUMPING

# The most that a phone records: 4K at 60 frames a second. Software decodes some 100 million pixels in a second of CPU.
PIXELS_A_SECOND = 3840 * 2160 * 60
# At 24 frames a second, the lowest usual rate, a frame may have this many pixels: 20.7 million.
MAX_VIDEO_PIXELS = PIXELS_A_SECOND // 24
# The time stamps of cameras are uneven: this many pixels may come at once, 12 frames of 4K.
BURST_PIXELS = PIXELS_A_SECOND // 5
# A video that was cut without re-encoding hides the frames from its last key frame to the cut: a second of 4K at 60
# frames a second, or ten seconds of 1080p at 24.
HIDDEN_PIXELS = PIXELS_A_SECOND
MIN_FRAME_PIXELS = 320 * 240  # a smaller frame counts for this many: it costs time, too
UNTIMED_SECONDS = 1 / 60  # the duration that a frame without a time stamp counts for


class VideoCost:
    """A token bucket (RFC 2697) of pixels: the time of the video fills it, its frames empty it."""

    def __init__(self, param: str | None, container: str) -> None:
        """container: FFmpeg's name of it."""
        self._param, self._jumps = param, container in JUMPING
        self._room = float(BURST_PIXELS)
        self._hidden = HIDDEN_PIXELS
        self._latest: float | None = None  # seconds

    def add(self, packet: "Packet[Any]", width: int, height: int) -> None:
        """Count a packet that is about to be decoded. Raises ServiceError media_too_complex."""
        pixels = max(width * height, MIN_FRAME_PIXELS)
        passed = self._seconds_since_latest(packet)
        if packet.is_discard:
            self._hidden -= pixels
            if self._hidden < 0:
                detail = (
                    f"The hidden frames before the first frame that is shown have more than {HIDDEN_PIXELS / 1e6:.0f}"
                    " megapixels. Send the video re-encoded."
                )
                raise ServiceError("media_too_complex", detail, param=self._param)
            return
        self._room = min(BURST_PIXELS, self._room + passed * PIXELS_A_SECOND) - pixels
        if self._room < 0:
            detail = (
                f"Frames of {width} x {height} pixels follow too fast at {self._latest or 0:.2f} s of the video. At"
                f" most {PIXELS_A_SECOND / 1e6:.0f} megapixels a second can be read: 3840 x 2160 at 60 frames a second."
            )
            raise ServiceError("media_too_complex", detail, param=self._param)

    def _seconds_since_latest(self, packet: "Packet[Any]") -> float:
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is None or packet.time_base is None:
            return UNTIMED_SECONDS
        time = float(stamp * packet.time_base)
        passed = 0.0 if self._latest is None else time - self._latest
        # Where videos were joined end to end, the time stamps of the next one count from its own beginning.
        is_jump = passed < -BACKWARD or (self._jumps and passed > JUMP)
        if self._latest is None or is_jump or passed > 0:
            self._latest = time
        return 0.0 if is_jump else max(0.0, passed)
