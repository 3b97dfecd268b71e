"""What a film costs to decode, counted packet by packet before each goes to the decoder.

Without it a file of a kilobyte can hold thousands of frames of the largest size which all fall into one 25th of a
second, or before the first frame that is shown: all are decoded, and nothing comes of them.
"""

from typing import Any

from av.packet import Packet

from accounts.errors import ServiceError
from render.media.reading.gaps import BACKWARD, JUMP, JUMPING

# The most that a phone films: 4K at 60 frames a second. Software decodes some 100 million pixels in a second of CPU.
PIXELS_A_SECOND = 3840 * 2160 * 60
# No film has fewer than 24 frames a second, so no frame has more pixels than this: 20.7 million.
MAX_FILM_PIXELS = PIXELS_A_SECOND // 24
# Cameras' time stamps are uneven: so many pixels may come at once, which are 12 frames of 4K.
BURST_PIXELS = PIXELS_A_SECOND // 5
# A film that was cut without encoding it anew hides frames from its last key frame to the cut: a second of 4K at 60
# frames, or ten of 1080p at 24.
HIDDEN_PIXELS = PIXELS_A_SECOND
LEAST_FRAME = 320 * 240  # pixels that a frame counts for at least: a tiny one costs time, too
UNTIMED_SECONDS = 1 / 60  # that a frame without a time stamp is taken to last


class FilmCost:
    """A bucket that fills with the time of the film and is emptied by its frames (token bucket, RFC 2697)."""

    def __init__(self, param: str | None, container: str) -> None:
        """container: FFmpeg's name of it."""
        self._param, self._jumps = param, container in JUMPING
        self._room = float(BURST_PIXELS)
        self._hidden = HIDDEN_PIXELS
        self._latest: float | None = None  # seconds

    def add(self, packet: "Packet[Any]", width: int, height: int) -> None:
        """Count a packet that is about to be decoded. Raises ServiceError media_too_complex."""
        pixels = max(width * height, LEAST_FRAME)
        passed = self._seconds_since_latest(packet)
        if packet.is_discard:
            self._hidden -= pixels
            if self._hidden < 0:
                detail = f"More than {HIDDEN_PIXELS / 1e6:.0f} megapixels of frames lie before the first that is shown."
                raise ServiceError("media_too_complex", detail, param=self._param)
            return
        self._room = min(BURST_PIXELS, self._room + passed * PIXELS_A_SECOND) - pixels
        if self._room < 0:
            detail = (
                f"Frames of {width} x {height} follow one another too fast at {self._latest or 0:.2f} s of the film; at"
                f" most {PIXELS_A_SECOND / 1e6:.0f} megapixels a second, as of 3840 x 2160 at 60 frames a second."
            )
            raise ServiceError("media_too_complex", detail, param=self._param)

    def _seconds_since_latest(self, packet: "Packet[Any]") -> float:
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is None or packet.time_base is None:
            return UNTIMED_SECONDS
        time = float(stamp * packet.time_base)
        passed = 0.0 if self._latest is None else time - self._latest
        # Where films were joined end to end, the next one counts from where it begins (`frame_times`).
        is_jump = passed < -BACKWARD or (self._jumps and passed > JUMP)
        if self._latest is None or is_jump or passed > 0:
            self._latest = time
        return 0.0 if is_jump else max(0.0, passed)
