"""The sound of the stored segments: one AAC stream for the whole film, handed out frame by frame.

An encoder for each segment would begin with priming, a click or a gap at every edge. So there is one for the film, and
an attempt that goes on in the middle encodes from the beginning too: it gets the very packets of an unbroken one.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

from render.engines.base import FPS
from render.media.audio.aac import add_aac_stream, encode_mix
from render.media.audio.mix import open_mix


@contextmanager
def open_segment_sound(
    sound: Sequence[tuple[Path, float]], num_frames: int, *, tell_dropped: Callable[[], None] = lambda: None
) -> "Iterator[SegmentSound]":
    """The mix of `sound`, pairs of a file and the second at which it starts, for a film of `num_frames`.

    tell_dropped: called all the time while it is encoded up to where an attempt goes on, some 20 s for half an hour.
    Raises ServiceError audio_invalid, also while the packets are read.
    """
    with ExitStack() as files:
        mix = open_mix(sound, files)
        # Writes nothing. The encoder needs a container, because another one takes its track's description from there.
        encoding = files.enter_context(av.open("", mode="w", format="null"))
        stream = add_aac_stream(encoding, mix)
        encoding.start_encoding()
        packets = chain.from_iterable(islice(encode_mix(stream, mix), num_frames))
        yield SegmentSound(stream, chain(packets, _flushed(stream)), tell_dropped)


class SegmentSound:
    def __init__(
        self, stream: AudioStream, packets: "Iterator[Packet[AudioStream]]", tell_dropped: Callable[[], None]
    ) -> None:
        self._stream = stream
        self._packets = packets
        self._tell_dropped = tell_dropped
        self._ahead: Packet[AudioStream] | None = next(packets)

    def add_stream(self, container: OutputContainer) -> AudioStream:
        """Add a track for the packets to `container`."""
        return container.add_stream_from_template(self._stream)

    def packets(self, frame: int) -> "Iterator[Packet[AudioStream]]":
        """The packets that start while a video frame is shown. Ask in order: what lies before `frame` is dropped.

        So is the priming, whose time before 0 MPEG-TS cannot express; a player fades in over the first 1024 samples.
        """
        rate = self._stream.rate
        while self._ahead is not None and (start := self._start_of(self._ahead) * FPS) < (frame + 1) * rate:
            packet, self._ahead = self._ahead, next(self._packets, None)
            if start >= frame * rate:
                yield packet
            else:
                self._tell_dropped()

    @staticmethod
    def _start_of(packet: "Packet[AudioStream]") -> int:
        assert packet.pts is not None  # The encoder sets it.
        return packet.pts


def _flushed(stream: AudioStream) -> "Iterator[Packet[AudioStream]]":
    # Only when everything else was read, else it would end the stream.
    yield from stream.encode(None)
