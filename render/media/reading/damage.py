"""How much of a track cannot be read, and how much may be missing: one rule for all containers, sound and picture.

Up to a second or 2 %, whichever is less, is a warning; more is an error, because a customer would take the film for
the whole. Missing is:
- the time of each packet that cannot be decoded;
- the time between two packets, where the bytes between them are broken;
- at the end, what the container says that it holds and does not (see `render.media.reading.promised_length`).
"""

import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from av.packet import Packet

from accounts.errors import ServiceError
from render.media.reading.gaps import JUMP, JUMPING

MOST_SECONDS, MOST_SHARE = 1.0, 0.02  # that may be missing
LEAST_SECONDS = 0.005  # less is rounding
# A damaged packet costs as much time as a good one, and a file may hold millions of them: after so many it is given up.
MOST_FAILED_PACKETS = 1000
# So many that can be decoded one after the other are no accident, as one is in noise: what follows is junk behind them.
RUN_OF_SOUND = 8
# These have no time stamps. Between their packets lies nothing, so what is broken is measured in bytes.
BYTE_STREAMS = {"mp3", "aac", "ac3", "eac3", "dts"}
# These promise a number of frames or samples of sound, so the promise counts what is missing in the middle, too.
COUNTED = BYTE_STREAMS | {"flac"}
# A recording of these may be cut off anywhere, and often is: damage after its last good packet is not counted.
ENDLESS = BYTE_STREAMS | {"mpegts", "mpeg"}
TORN_PACKETS = 32  # an MPEG stream joins up to 32 packets of sound: a loss shows only after the last of them
POSITIONS = 4  # packets to look back: in Ogg the first after a broken page carries the time of the lost one


class Damage:
    """Counts over one track of a file, or over that of all the parts of a joined one.

    failure: raised when nothing can be read, or too much is missing; then with the figures.
    """

    def __init__(self, failure: ServiceError) -> None:
        self._failure = failure
        self.lost_seconds = self.lost_at_end_seconds = 0.0
        self.read_seconds = 0.0  # the caller adds what it has decoded, and pauses between packets
        self.packets = 0  # of this part that came, damaged ones too
        self._failed_packets = 0
        self._good_bytes = self._bad_bytes = self._bad_bytes_since = 0
        self._lost_since = 0.0  # seconds, of an endless one
        self._run = self._longest_run = 0  # packets
        self._failed_since = 0
        self.begin("", 0.0, 0.0, lambda position, next_position: False)

    def begin(
        self,
        container: str,
        tick_seconds: float,
        packet_seconds: float,
        is_broken_between: Callable[[int, int], bool],
    ) -> None:
        """A track begins. tick_seconds: the unit of its time stamps. packet_seconds: that a packet lasts which does not
        say so. is_broken_between: two positions in the file, at which packets were found.
        """
        self._is_byte_stream, self._is_counted = container in BYTE_STREAMS, container in COUNTED
        self._is_endless, self._jumps = container in ENDLESS, container in JUMPING
        self._tick_seconds, self._packet_seconds = tick_seconds, packet_seconds
        self._is_broken_between = is_broken_between
        self._end: float | None = None  # seconds, of the latest packet as it was written
        self.end_seconds = 0.0  # of the latest packet as it is shown
        self._positions: deque[int] = deque(maxlen=POSITIONS)
        self._torn_packets = 0
        self.packets = 0
        self.first_stamp: int | None = None  # ticks of the track
        self.last_stamp: int | None = None
        self.first_byte, self.end_byte = sys.maxsize, 0  # of the file, that packets of any track have covered

    def skipped(self, num_bytes: int) -> None:
        """So many bytes of sound were left out before it came to a demuxer."""
        self._bad_bytes += num_bytes

    @property
    def is_noticed(self) -> bool:
        return self.lost_seconds > 0 or self._failed_packets > 0

    def passes(self, packet: "Packet[Any]") -> None:
        """It is about to be decoded."""
        self.packets += 1
        self._good_bytes += packet.size
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is not None:
            time = stamp * self._tick_seconds
            gap = 0.0 if self._end is None else time - self._end
            # What jumps is not missing: there two recordings were joined.
            if gap > 2 * LEAST_SECONDS and not (self._jumps and gap > JUMP) and self._is_broken(packet):
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
        """It cannot be decoded. Call `passes` first. Raises ServiceError when too many were damaged."""
        self._good_bytes -= packet.size
        self._torn_packets = max(1, self._torn_packets)
        self._failed_packets += 1
        self._failed_since += 1
        self._run = 0
        if self._is_byte_stream:
            self._bad_bytes_since += packet.size
        elif self._is_endless:
            self._lost_since += self._seconds(packet)
        else:
            self.lost_seconds += self._seconds(packet)
        if self._failed_packets >= MOST_FAILED_PACKETS:
            self.settle()

    def tears(self) -> None:
        """The demuxer has met something broken: a gap in the time of the next packets is a loss."""
        self._torn_packets = TORN_PACKETS

    def decoded(self) -> None:
        """Something came of a packet: what was broken before it was no junk behind the end."""
        self._bad_bytes += self._bad_bytes_since
        self.lost_seconds += self._lost_since
        self._bad_bytes_since, self._lost_since, self._failed_since = 0, 0.0, 0
        self._run += 1
        self._longest_run = max(self._longest_run, self._run)

    def ends_early(self, seconds: float) -> None:
        """So much is missing behind the last packet, as `render.media.reading.promised_length` tells."""
        before = self.lost_seconds
        self.lost_seconds = max(before, seconds) if self._is_counted else before + seconds
        self.lost_at_end_seconds += self.lost_seconds - before

    def settle(self) -> float:
        """At the end, the seconds that are missing. Raises ServiceError when that is too much."""
        is_junk_behind = self._is_byte_stream and self._longest_run >= RUN_OF_SOUND
        bad_bytes = self._bad_bytes + (0 if is_junk_behind else self._bad_bytes_since)
        failed_packets = self._failed_packets - (self._failed_since if is_junk_behind else 0)
        if not self.read_seconds:
            raise self._failure
        if bad_bytes > self._good_bytes:
            raise self._with("More of the file is damaged than can be read: send it again, or the original.")
        lost = max(self.lost_seconds, self.read_seconds * self._bad_bytes / max(1, self._good_bytes))
        if lost < LEAST_SECONDS:
            return 0.0
        whole = self.read_seconds + lost
        if lost > min(MOST_SECONDS, MOST_SHARE * whole) + LEAST_SECONDS or failed_packets >= MOST_FAILED_PACKETS:
            raise self._with(
                f"The file is damaged or was cut off: {self.read_seconds:.2f} s of {whole:.2f} s can be read. At most"
                f" {min(MOST_SECONDS, MOST_SHARE * whole):.2f} s may be missing: send it again, or the original."
            )
        return round(lost, 3)

    def _with(self, detail: str) -> ServiceError:
        return ServiceError(self._failure.code, detail, param=self._failure.param)

    def _seconds(self, packet: "Packet[Any]") -> float:
        return packet.duration * self._tick_seconds if packet.duration else self._packet_seconds

    @property
    def last_seconds(self) -> float:
        """When the latest packet begins, by its stamp."""
        return (self.last_stamp or 0) * self._tick_seconds

    @property
    def step_seconds(self) -> float:
        """From packet to packet, on average."""
        if self.last_stamp is None or self.first_stamp is None or self.packets < 2:
            return 0.0
        return (self.last_stamp - self.first_stamp) * self._tick_seconds / (self.packets - 1)

    def is_broken_from_last_packet(self) -> bool:
        """Whether something broken lies between the last packet of the track and the end of the file."""
        return bool(self._positions) and self._is_broken_between(self._positions[-1], sys.maxsize)

    def _is_broken(self, packet: "Packet[Any]") -> bool:
        if self._torn_packets:
            return True
        if packet.pos is None or not self._positions:
            return False
        return self._is_broken_between(self._positions[0], packet.pos)
