"""The one way in which this service encodes sound: AAC-LC (ISO/IEC 14496-3), and the same bytes for the same mix."""

from collections.abc import Iterator
from fractions import Fraction

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

from render.engines.base import FPS
from render.media.audio.mix import SoundMix

BIT_RATES = {"mono": 128_000, "stereo": 160_000}


def add_aac_stream(container: OutputContainer, mix: SoundMix) -> AudioStream:
    """Add a track with the rate and the layout of `mix`."""
    stream = container.add_stream("aac", rate=mix.rate, layout=mix.layout, options={"flags": "+bitexact"})
    stream.bit_rate = BIT_RATES[mix.layout]
    return stream


def encode_mix(stream: AudioStream, mix: SoundMix) -> "Iterator[list[Packet[AudioStream]]]":
    """What leaves the encoder for each block of the mix, one block per video frame; times count from the first block.

    The first packet is priming: it lies before 0 (ISO/IEC 14496-24). The encoder still holds the last packets when the
    caller stops reading: `stream.encode(None)` gives them.
    """
    for number, block in enumerate(mix.blocks):
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=mix.layout)
        frame.sample_rate = mix.rate
        frame.pts = number * mix.rate // FPS
        frame.time_base = Fraction(1, mix.rate)
        yield stream.encode(frame)
