"""Open and decode audio and video files of strangers.

What decodes is found by content. FFmpeg's demuxers include playlists and scripts (HLS, concat, SDP) that open further
files and addresses, so only formats that hold their own data are let in.
"""

from collections.abc import Iterator
from pathlib import Path

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from accounts.errors import ServiceError

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,ogg,wav,w64,mp3,flac,aac,aiff,caf,amr,avi,mpegts,mpeg,asf,flv"
STILL_BRANDS = {"heic", "heix", "heim", "heis", "mif1", "msf1", "avif", "avis"}  # pictures in an mp4 box structure
# ValueError: PyAV's own checks, and frames that change their format midway. OSError: the file itself.
DECODE_ERRORS = (av.error.FFmpegError, ValueError, OSError)


def open_source(path: Path) -> InputContainer:
    """Open a file of one of `FORMATS`. Raises one of `DECODE_ERRORS` for anything else."""
    return av.open(
        str(path),
        mode="r",
        options={"format_whitelist": FORMATS, "protocol_whitelist": "file"},
        metadata_errors="replace",  # old mp3 tags are not UTF-8, and that is no reason to refuse a voice
    )


def moving_picture(container: InputContainer) -> VideoStream | None:
    """The first video track; a cover picture is none, and a HEIC photo is not a film."""
    if container.metadata.get("major_brand", "") in STILL_BRANDS:
        return None
    still = Disposition.attached_pic | Disposition.timed_thumbnails
    for stream in container.streams.video:
        if stream.codec_context is not None and not stream.disposition & still:
            return stream
    return None


def sound_track(container: InputContainer) -> AudioStream | None:
    """The first audio track that there is a decoder for."""
    return next((stream for stream in container.streams.audio if stream.codec_context is not None), None)


def video_frames(container: InputContainer, stream: VideoStream, *, failure: ServiceError) -> Iterator[VideoFrame]:
    """Decode to the end, frame by frame. Raises `failure` when the track is damaged or breaks off midway."""
    for frame in _frames(container, stream, failure):
        if isinstance(frame, VideoFrame):
            yield frame


def audio_frames(container: InputContainer, stream: AudioStream, *, failure: ServiceError) -> Iterator[AudioFrame]:
    """Decode to the end, frame by frame. Raises `failure` when the track is damaged or breaks off midway."""
    for frame in _frames(container, stream, failure):
        if isinstance(frame, AudioFrame):
            yield frame


def _frames(
    container: InputContainer, stream: VideoStream | AudioStream, failure: ServiceError
) -> Iterator[VideoFrame | AudioFrame]:
    # An mp4 that was cut between two packets looks like a clean end to the demuxer, but it has an index of them. Not
    # `stream.frames`: that counts packets which an edit list leaves out.
    expected = len(stream.index_entries) if "mp4" in container.format.name else 0
    # Recorders that stream a WAV cannot know its length, and FFmpeg calls the last packet of such a file corrupt.
    uncompressed = stream.codec_context.name.startswith("pcm_")
    packets = 0
    try:
        for packet in container.demux(stream):
            if packet.is_corrupt and not uncompressed:
                raise failure
            packets += packet.size > 0  # the last one is empty and only flushes the decoder
            for frame in packet.decode():
                if isinstance(frame, VideoFrame | AudioFrame):
                    yield frame
    except DECODE_ERRORS as error:
        raise failure from error
    if packets < expected:
        raise failure
