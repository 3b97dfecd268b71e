"""The frames of mp3 (ISO/IEC 11172-3, 13818-3) and of AAC as a stream (ADTS, 13818-7), and the junk between them.

FFmpeg also resumes behind a broken part, but loses some ten good frames there, because it takes audio data for headers.
"""

import mmap
import re

SYNC = re.compile(rb"\xff[\xe0-\xff]")
HEADER_BYTES = 7
MAX_FRAMES = 1_000_000  # six hours; later frames are not looked at
MAX_CODEC_CHANGES = 1000  # each begins a part that is opened on its own
MAX_CANDIDATES = 100_000  # in one file, that are tried as the start of the next frame
# By layer: kbit/s of each index in the header. Of MPEG 1, and of MPEG 2 and 2.5.
BIT_RATES_1 = {
    1: [0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    2: [0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    3: [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
}
BIT_RATES_2 = {
    1: [0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    2: [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    3: [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
}
SAMPLE_RATES = [44_100, 48_000, 32_000]  # Hz, of MPEG 1
MPEG1, MPEG2, MPEG25, RESERVED_VERSION = 3, 2, 0, 1  # the version in the header


def junk_and_codec_changes(data: mmap.mmap, first: int) -> tuple[list[tuple[int, int]], list[int]]:
    """The byte ranges (start, stop) between frames, and the bytes at which mp3 goes on as ADTS or the other way round.

    first: the byte at which the first frame begins.
    """
    if not _is_frame(data, first):
        return [], []
    junk: list[tuple[int, int]] = []
    codec_changes: list[int] = []
    before = at = first
    candidates_left = MAX_CANDIDATES
    is_adts = _is_adts(data, first)
    for _ in range(MAX_FRAMES):
        if at >= len(data):
            break
        if length := _length(data, at):
            if _is_adts(data, at) != is_adts and _is_frame(data, at):
                is_adts = not is_adts
                codec_changes.append(at)
            before, at = at, at + length
            continue
        # Either this header is broken, or the length in the header before: search from there.
        next_frame = None
        for sync in SYNC.finditer(data, before + 1):
            candidates_left -= 1
            if _is_frame(data, sync.start()):
                next_frame = sync.start()
            if next_frame is not None or candidates_left < 0:
                break
        if next_frame is None:
            break
        junk.append((at if next_frame >= at else before, next_frame))
        before = at = next_frame
    return junk, codec_changes[:MAX_CODEC_CHANGES]


def _is_adts(data: mmap.mmap, at: int) -> bool:
    return not data[at + 1] & 0b110


def _is_frame(data: mmap.mmap, at: int) -> bool:
    """Whether a frame begins here, and another or the end of the file follows it."""
    length = _length(data, at)
    return bool(length) and (at + length >= len(data) or bool(_length(data, at + length)))


def _length(data: mmap.mmap, at: int) -> int:
    """Bytes of the frame that begins here; 0 when none does, or when its header does not tell."""
    header = data[at : at + HEADER_BYTES]
    if len(header) < HEADER_BYTES or not SYNC.match(header):
        return 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    if layer == 4:
        length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
        is_adts = version > 1 and header[2] >> 2 & 0xF <= 12  # 13 sampling rates
        return length if is_adts and length > HEADER_BYTES else 0
    bit_rate_index, sample_rate_index = header[2] >> 4, header[2] >> 2 & 3
    if version == RESERVED_VERSION or bit_rate_index in (0, 15) or sample_rate_index == 3:
        return 0
    bit_rate = 1000 * (BIT_RATES_1 if version == MPEG1 else BIT_RATES_2)[layer][bit_rate_index]
    sample_rate = SAMPLE_RATES[sample_rate_index] // {MPEG1: 1, MPEG2: 2, MPEG25: 4}[version]
    padding = header[2] >> 1 & 1
    if layer == 1:
        return (12 * bit_rate // sample_rate + padding) * 4
    return (72 if layer == 3 and version != MPEG1 else 144) * bit_rate // sample_rate + padding
