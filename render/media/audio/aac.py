"""The one way in which this service encodes audio: AAC-LC (ISO/IEC 14496-3), with the same bytes for the same mix."""

from collections.abc import Iterator

from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

from render.engines.base import FPS
from render.media.audio.mix import AudioMix
from render.media.reading.frame_samples import audio_frame

BIT_RATES = {"mono": 128_000, "stereo": 160_000}


def add_aac_stream(container: OutputContainer, mix: AudioMix) -> AudioStream:
    """Add a track with the rate and the layout of `mix`."""
    stream = container.add_stream("aac", rate=mix.rate, layout=mix.layout, options={"flags": "+bitexact"})
    stream.bit_rate = BIT_RATES[mix.layout]
    return stream


def encode_mix(stream: AudioStream, mix: AudioMix) -> "Iterator[list[Packet[AudioStream]]]":
    """Yield the packets that leave the encoder for each block of the mix; a block is as long as a video frame.

    Times count from the first block. The first packet is priming: it lies before 0 (ISO/IEC 14496-24). When the caller
    stops, the encoder still holds the last packets: `stream.encode(None)` returns them.
    """
    for number, block in enumerate(mix.blocks):
        frame = audio_frame(
            block, sample_format="fltp", layout=mix.layout, rate=mix.rate, start=number * mix.rate // FPS
        )
        yield stream.encode(frame)
