"""The audio of stored segments: one AAC stream for the whole video, given out frame by frame.

An encoder for each segment would begin with priming, a click or a gap at every edge. So one encoder serves the whole
video, and an attempt that resumes in the middle encodes from the beginning too: its packets equal those of an unbroken
attempt.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

from render.engines.base import FPS
from render.media.audio.aac import add_aac_stream, encode_mix
from render.media.audio.mix import AudioMix, open_mix


@contextmanager
def open_segment_audio(
    voices: Sequence[tuple[Path, float]], num_frames: int, *, on_dropped: Callable[[], None] = lambda: None
) -> "Iterator[SegmentAudio]":
    """Mix `voices`, pairs of a file and the second at which it starts, for a video of `num_frames`.

    on_dropped: called for each packet before the frame at which an attempt resumes; half an hour of them takes 20 s.
    Raises ServiceError audio_invalid, also while the packets are read.
    """
    with ExitStack() as files:
        mix = open_mix(voices, files)
        # Writes nothing: the encoder needs a container, from which others copy the description of the track.
        encoding = files.enter_context(av.open("", mode="w", format="null"))
        stream = add_aac_stream(encoding, mix)
        encoding.start_encoding()
        yield SegmentAudio(stream, _encoded(stream, mix, num_frames), on_dropped)


class SegmentAudio:
    def __init__(
        self, stream: AudioStream, packets: "Iterator[Packet[AudioStream]]", on_dropped: Callable[[], None]
    ) -> None:
        self._stream = stream
        self._packets = packets
        self._on_dropped = on_dropped
        self._next: Packet[AudioStream] | None = next(packets)

    def add_stream(self, container: OutputContainer) -> AudioStream:
        """Add a track for the packets to `container`."""
        return container.add_stream_from_template(self._stream)

    def packets(self, frame: int) -> "Iterator[Packet[AudioStream]]":
        """Yield the packets that start while a video frame is shown. Call in order: earlier packets are dropped.

        The priming is dropped, too: MPEG-TS cannot express its time before 0. A player fades in over the first 1024
        samples.
        """
        rate = self._stream.rate
        while self._next is not None and (start := _start(self._next) * FPS) < (frame + 1) * rate:
            packet, self._next = self._next, next(self._packets, None)
            if start >= frame * rate:
                yield packet
            else:
                self._on_dropped()


def _encoded(stream: AudioStream, mix: AudioMix, num_frames: int) -> "Iterator[Packet[AudioStream]]":
    for packets in islice(encode_mix(stream, mix), num_frames):
        yield from packets
    yield from stream.encode(None)


def _start(packet: "Packet[AudioStream]") -> int:
    """Its first sample."""
    assert packet.pts is not None, "the encoder sets it"
    return packet.pts
