"""Pauses in AMR (3GPP TS 26.101 and 26.201): a phone sends empty frames, or frames that describe background noise.

FFmpeg reports such packets as errors, because it cannot synthesise that noise (comfort noise).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.packet import Packet


@dataclass(frozen=True)
class AmrVariant:
    noise_types: range  # frame types that describe comfort noise
    frame_samples: int  # 20 ms


NARROWBAND = AmrVariant(noise_types=range(8, 12), frame_samples=160)
WIDEBAND = AmrVariant(noise_types=range(9, 10), frame_samples=320)
VARIANTS = {  # by FFmpeg's names of the codecs
    "amrnb": NARROWBAND,
    "amr_nb": NARROWBAND,
    "libopencore_amrnb": NARROWBAND,
    "amrwb": WIDEBAND,
    "amr_wb": WIDEBAND,
    "libopencore_amrwb": WIDEBAND,
}
FRAMES_A_SECOND = 50
NO_DATA = 15  # frame type
UNUSED_BITS = 0x83  # of the first byte: 0 in every frame that a phone has written
MAX_BYTES = 8  # of a frame without speech


def silence_of(packet: "Packet[Any]", stream: AudioStream) -> AudioFrame | None:
    """20 ms of silence for a packet that stands for a pause; None for every other packet."""
    variant = VARIANTS.get(stream.codec_context.name)
    if variant is None or not 0 < packet.size <= MAX_BYTES:
        return None
    first_byte = bytes(packet)[0]
    frame_type = first_byte >> 3 & 15
    if first_byte & UNUSED_BITS or (frame_type not in variant.noise_types and frame_type != NO_DATA):
        return None
    silence = AudioFrame.from_ndarray(np.zeros((1, variant.frame_samples), np.float32), format="fltp", layout="mono")
    silence.sample_rate = variant.frame_samples * FRAMES_A_SECOND
    silence.pts, silence.time_base = packet.pts, packet.time_base
    return silence
