"""Which audio and video files of customers are opened, and which of their tracks players would play.

The format is found by content. FFmpeg's demuxers include playlists and scripts (HLS, concat, SDP) that open further
files and addresses, so only formats that hold their own data are allowed. Of its some 500 decoders, only those of
recordings are: the others are for games, screens and images, seldom used and seldom tested.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from accounts.errors import ServiceError
from render.media.containers.joined_files import FileRanges
from render.media.reading.file_types import STILL_IMAGE_BRANDS
from render.media.reading.image_formats import MAX_PIXELS

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,ogg,wav,w64,mp3,flac,aac,ac3,eac3,au,aiff,caf,amr,avi,mpegts,mpeg,asf,flv"
)
VIDEO_DECODERS = (
    "h264,hevc,vvc,libdav1d,av1,vp8,vp9,libvpx,libvpx-vp9,vp6,vp6a,vp6f,mpeg1video,mpeg2video,mpeg4,msmpeg4v1,msmpeg4v2,"
    "msmpeg4,wmv1,wmv2,wmv3,vc1,h263,flv,theora,mjpeg,mjpegb,prores,dnxhd,cfhd,dvvideo,ffv1,ffvhuff,huffyuv,utvideo,"
    "rawvideo,svq1,svq3"
)
AUDIO_DECODERS = (
    "aac,aac_latm,alac,amrnb,amrwb,ac3,eac3,dca,flac,mp1,mp1float,mp2,mp2float,mp3,mp3float,opus,libopus,vorbis,speex,"
    "wavpack,wmav1,wmav2,wmapro,wmalossless,wmavoice,gsm,gsm_ms,g722,g726,nellymoser,qdm2,adpcm_ms,adpcm_ima_wav,"
    "adpcm_ima_qt,adpcm_swf,adpcm_yamaha,pcm_alaw,pcm_mulaw,pcm_bluray,pcm_dvd,pcm_s8,pcm_u8,pcm_s16le,pcm_s16be,"
    "pcm_s16le_planar,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be"
)
DECODERS = frozenset(f"{VIDEO_DECODERS},{AUDIO_DECODERS}".split(","))
MAX_TRACKS = 50  # phones and cameras write up to ten: video, audio, positions, times
STILL_IMAGES = Disposition.attached_pic | Disposition.timed_thumbnails  # video tracks that are covers or previews
# ValueError: PyAV's own checks, and frames that change their format midway. OSError: the file itself.
DECODE_ERRORS = (av.error.FFmpegError, ValueError, OSError)
Track = TypeVar("Track", VideoStream, AudioStream)


@contextmanager
def decode_errors_as(failure: ServiceError) -> Iterator[None]:
    """Raise `failure` for what FFmpeg cannot decode. MemoryError passes: it says nothing about the file."""
    try:
        yield
    except MemoryError:
        raise
    except DECODE_ERRORS as error:
        raise failure from error


def open_source(source: Path | FileRanges) -> InputContainer:
    """Open a file of one of `FORMATS`. Raises one of `DECODE_ERRORS` for any other file."""
    return av.open(
        str(source) if isinstance(source, Path) else source,
        mode="r",
        options={
            "format_whitelist": FORMATS,
            "protocol_whitelist": "file",
            # FFmpeg decodes the first frames already while it opens a file. This limit of pixels is above that of a
            # video: with the lower one, FFmpeg would not report the size that the error is to tell.
            "codec_whitelist": ",".join(sorted(DECODERS)),
            "max_pixels": str(MAX_PIXELS),
            "max_streams": str(MAX_TRACKS),
        },
        metadata_errors="replace",  # old mp3 tags are not UTF-8, which is no reason to refuse a voice
    )


def video_track(container: InputContainer) -> VideoStream | None:
    """The video track that players choose, of those with an allowed decoder. None for a HEIC photo or a cover image."""
    if container.metadata.get("major_brand", "") in STILL_IMAGE_BRANDS:
        return None
    for stream in _default_first(container.streams.video):
        context = stream.codec_context
        if context is not None and context.name in DECODERS and not stream.disposition & STILL_IMAGES:
            return stream
    return None


def audio_track(container: InputContainer) -> AudioStream | None:
    """The audio track that players choose, of those with an allowed decoder."""
    for stream in _default_first(container.streams.audio):
        if stream.codec_context is not None and stream.codec_context.name in DECODERS:
            return stream
    return None


def _default_first(streams: Iterable[Track]) -> list[Track]:
    """In the file's order, but the tracks that it marks as default come first."""
    return sorted(streams, key=lambda stream: not stream.disposition & Disposition.default)
