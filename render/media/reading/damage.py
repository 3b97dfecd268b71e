"""How much of a track cannot be read, and how much may be missing: one rule for all containers, audio and video.

Up to a second or 2 %, whichever is less, is a warning. More is an error, because a customer would not see that the
result is incomplete. These count as missing:
- the time of each packet that cannot be decoded;
- the time between two packets, where the bytes between them are broken;
- at the end, what the container promises and does not hold (see `render.media.reading.missing_end`).
"""

import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from av.packet import Packet

from accounts.errors import ServiceError
from render.media.reading.gaps import JUMP, JUMPING

MAX_MISSING_SECONDS, MAX_MISSING_SHARE = 1.0, 0.02  # the smaller one counts
MIN_SECONDS = 0.005  # less is rounding
# A damaged packet costs as much time as a good one, and a file may hold millions: decoding ends after this many.
MAX_FAILED_PACKETS = 1000
# Noise may look like one packet, but not like this many in a row: what cannot be read after them is junk at the end.
RUN_OF_AUDIO = 8
# Formats without time stamps and without bytes between packets: what is broken in them is measured in bytes.
BYTE_STREAMS = {"mp3", "aac", "ac3", "eac3", "dts"}
# Formats that promise a number of frames or samples: the count at the end includes what is missing in the middle.
COUNTED = BYTE_STREAMS | {"flac"}
# Recordings in these formats are often cut off anywhere: damage after the last good packet is not counted.
ENDLESS = BYTE_STREAMS | {"mpegts", "mpeg"}
TORN_PACKETS = 32  # an MPEG stream joins up to 32 packets of audio: a loss shows only after the last of them
POSITIONS = 4  # packets to look back: in Ogg the first packet after a broken page carries the time of the lost one


class Damage:
    """Counts over one track of a file, or over the tracks of all parts of a joined file.

    failure: raised when nothing can be read. When too much is missing, an error of its code is raised with the figures.
    """

    def __init__(self, failure: ServiceError) -> None:
        self._failure = failure
        self.lost_seconds = self.lost_at_end_seconds = 0.0
        self.read_seconds = 0.0  # the caller adds what it has decoded, and pauses between packets
        self.packets = 0  # of this part, damaged ones too
        self._failed_packets = 0
        self._good_bytes = self._bad_bytes = 0
        self._run = self._longest_run = 0  # packets decoded in a row
        # Since the last packet that was decoded; not counted if the recording ends here:
        self._bad_bytes_since = 0
        self._lost_seconds_since = 0.0  # in an endless format
        self._failed_packets_since = 0
        self.begin("", 0.0, 0.0, lambda position, next_position: False)

    def begin(
        self,
        container: str,
        tick_seconds: float,
        packet_seconds: float,
        is_broken_between: Callable[[int, int], bool],
    ) -> None:
        """A track begins.

        container: FFmpeg's name of it. tick_seconds: the unit of the track's time stamps. packet_seconds: the duration
        of a packet that does not tell its own. is_broken_between: takes the positions of two packets in the file, in
        bytes.
        """
        self._is_byte_stream, self._is_counted = container in BYTE_STREAMS, container in COUNTED
        self._is_endless, self._jumps = container in ENDLESS, container in JUMPING
        self._tick_seconds, self._packet_seconds = tick_seconds, packet_seconds
        self._is_broken_between = is_broken_between
        self._end: float | None = None  # seconds, of the latest packet in the order of decoding
        self.end_seconds = 0.0  # of the latest packet in the order of display
        self._positions: deque[int] = deque(maxlen=POSITIONS)
        self._torn_packets = 0
        self.packets = 0
        self.first_stamp: int | None = None  # ticks of the track
        self.last_stamp: int | None = None
        self.first_byte, self.end_byte = sys.maxsize, 0  # the range of the file that packets of any track covered

    def skipped(self, num_bytes: int) -> None:
        """This many bytes of audio were left out before the demuxer."""
        self._bad_bytes += num_bytes

    @property
    def is_noticed(self) -> bool:
        return self.lost_seconds > 0 or self._failed_packets > 0

    def passes(self, packet: "Packet[Any]") -> None:
        """The packet is about to be decoded."""
        self.packets += 1
        self._good_bytes += packet.size
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is not None:
            time = stamp * self._tick_seconds
            gap = 0.0 if self._end is None else time - self._end
            # A jump is where two recordings were joined: nothing is missing there.
            if gap > 2 * MIN_SECONDS and not (self._jumps and gap > JUMP) and self._is_broken(packet):
                self.lost_seconds += gap
            self._end = max(time + self._seconds(packet), self._end or time)
            shown = max(stamp, packet.pts if packet.pts is not None else stamp) * self._tick_seconds
            self.end_seconds = max(shown + self._seconds(packet), self.end_seconds)
            self.last_stamp = stamp
            self.first_stamp = stamp if self.first_stamp is None else self.first_stamp
        if packet.pos is not None and packet.pos not in self._positions:  # a page of Ogg holds many packets
            self._positions.append(packet.pos)
        self._torn_packets -= self._torn_packets > 0

    def covers(self, packet: "Packet[Any]") -> None:
        """A packet of this track or of another has come."""
        if packet.pos is not None and packet.size:
            self.first_byte = min(self.first_byte, packet.pos)
            self.end_byte = max(self.end_byte, packet.pos + packet.size)

    def fails(self, packet: "Packet[Any]") -> None:
        """The packet cannot be decoded. Call `passes` first. Raises ServiceError when too many packets failed."""
        self._good_bytes -= packet.size
        self._torn_packets = max(1, self._torn_packets)
        self._failed_packets += 1
        self._failed_packets_since += 1
        self._run = 0
        if self._is_byte_stream:
            self._bad_bytes_since += packet.size
        elif self._is_endless:
            self._lost_seconds_since += self._seconds(packet)
        else:
            self.lost_seconds += self._seconds(packet)
        if self._failed_packets >= MAX_FAILED_PACKETS:
            self.settle()

    def tears(self) -> None:
        """The demuxer has met a broken part: a gap in the time of the next packets is a loss, not a pause."""
        self._torn_packets = TORN_PACKETS

    def decoded(self) -> None:
        """A packet was decoded: what failed before it was not junk at the end, so it counts."""
        self._bad_bytes += self._bad_bytes_since
        self.lost_seconds += self._lost_seconds_since
        self._bad_bytes_since, self._lost_seconds_since, self._failed_packets_since = 0, 0.0, 0
        self._run += 1
        self._longest_run = max(self._longest_run, self._run)

    def ends_early(self, seconds: float) -> None:
        """Add what `render.media.reading.missing_end` found missing after the last packet."""
        before = self.lost_seconds
        self.lost_seconds = max(before, seconds) if self._is_counted else before + seconds
        self.lost_at_end_seconds += self.lost_seconds - before

    def settle(self) -> float:
        """Return the seconds that are missing, at the end. Raises ServiceError when they are too many."""
        has_junk_at_end = self._is_byte_stream and self._longest_run >= RUN_OF_AUDIO
        bad_bytes = self._bad_bytes + (0 if has_junk_at_end else self._bad_bytes_since)
        failed_packets = self._failed_packets - (self._failed_packets_since if has_junk_at_end else 0)
        if not self.read_seconds:
            raise self._failure
        if bad_bytes > self._good_bytes:
            raise self._error("More than half of the file is damaged. Send it again, or send the original.")
        lost = max(self.lost_seconds, self.read_seconds * self._bad_bytes / max(1, self._good_bytes))
        if lost < MIN_SECONDS:
            return 0.0
        whole = self.read_seconds + lost
        most = min(MAX_MISSING_SECONDS, MAX_MISSING_SHARE * whole)
        if lost > most + MIN_SECONDS or failed_packets >= MAX_FAILED_PACKETS:
            raise self._error(
                f"The file is damaged or was cut off: {self.read_seconds:.2f} s of {whole:.2f} s can be read, and at"
                f" most {most:.2f} s may be missing. Send it again, or send the original."
            )
        return round(lost, 3)

    def _error(self, detail: str) -> ServiceError:
        return ServiceError(self._failure.code, detail, param=self._failure.param)

    def _seconds(self, packet: "Packet[Any]") -> float:
        return packet.duration * self._tick_seconds if packet.duration else self._packet_seconds

    @property
    def last_seconds(self) -> float:
        """When the latest packet begins, by its stamp."""
        return (self.last_stamp or 0) * self._tick_seconds

    @property
    def step_seconds(self) -> float:
        """The time from one packet to the next, on average."""
        if self.last_stamp is None or self.first_stamp is None or self.packets < 2:
            return 0.0
        return (self.last_stamp - self.first_stamp) * self._tick_seconds / (self.packets - 1)

    def is_broken_from_last_packet(self) -> bool:
        """Whether a broken part lies between the last packet of the track and the end of the file."""
        return bool(self._positions) and self._is_broken_between(self._positions[-1], sys.maxsize)

    def _is_broken(self, packet: "Packet[Any]") -> bool:
        if self._torn_packets:
            return True
        if packet.pos is None or not self._positions:
            return False
        return self._is_broken_between(self._positions[0], packet.pos)
