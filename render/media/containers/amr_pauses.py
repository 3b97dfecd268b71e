"""Pauses in AMR (3GPP TS 26.101 and 26.201): phones send no sound in them, or only how the room hums.

FFmpeg calls such packets broken, because it cannot make that hum.
"""

from typing import Any

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.packet import Packet

# By name of the codec: the kinds of frames that describe a hum, and samples of a frame. 15 is a frame without data.
HUMS = {"amrnb": (range(8, 12), 160), "amrwb": (range(9, 10), 320)}
NAMES = {"amr_nb": "amrnb", "amr_wb": "amrwb", "libopencore_amrnb": "amrnb", "libopencore_amrwb": "amrwb"}
NO_DATA = 15
UNUSED_BITS = 0x83  # of the first byte, 0 in every frame that a phone has written
MOST_BYTES = 8  # of a frame that holds no sound


def silence_of(packet: "Packet[Any]", stream: AudioStream) -> AudioFrame | None:
    """20 ms of silence for a packet that stands for a pause; None for every other."""
    name = stream.codec_context.name
    hums, samples = HUMS.get(NAMES.get(name, name), (range(0), 0))
    if not samples or not 0 < packet.size <= MOST_BYTES:
        return None
    first = bytes(packet)[0]
    kind = first >> 3 & 15
    if first & UNUSED_BITS or (kind not in hums and kind != NO_DATA):
        return None
    silence = AudioFrame.from_ndarray(np.zeros((1, samples), np.float32), format="fltp", layout="mono")
    silence.sample_rate = samples * 50
    silence.pts, silence.time_base = packet.pts, packet.time_base
    return silence
