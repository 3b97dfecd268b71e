"""Open and decode audio and video files of strangers.

What decodes is found by content. FFmpeg's demuxers include playlists and scripts (HLS, concat, SDP) that open further
files and addresses, so only formats that hold their own data are let in. Of its some 500 decoders, only those of
recordings are: the rest are of games, screens and pictures, seldom used and seldom tested.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.codec import CodecContext
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from accounts.errors import ServiceError
from render.media.containers.amr_pauses import silence_of
from render.media.containers.broken_places import BrokenPlaces
from render.media.containers.joined_files import Stretches
from render.media.reading.damage import Damage
from render.media.reading.decode_cost import MAX_FILM_PIXELS, FilmCost
from render.media.reading.image_formats import MAX_PIXELS
from render.media.reading.promised_length import missing_seconds

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,ogg,wav,w64,mp3,flac,aac,ac3,eac3,au,aiff,caf,amr,"
FORMATS += "avi,mpegts,mpeg,asf,flv"
VIDEO_DECODERS = (
    "h264,hevc,vvc,libdav1d,av1,vp8,vp9,libvpx,libvpx-vp9,vp6,vp6a,vp6f,mpeg1video,mpeg2video,mpeg4,msmpeg4v1,msmpeg4v2,"
    "msmpeg4,wmv1,wmv2,wmv3,vc1,h263,flv,theora,mjpeg,mjpegb,prores,dnxhd,cfhd,dvvideo,ffv1,ffvhuff,huffyuv,utvideo,"
    "rawvideo,svq1,svq3"
)
SOUND_DECODERS = (
    "aac,aac_latm,alac,amrnb,amrwb,ac3,eac3,dca,flac,mp1,mp1float,mp2,mp2float,mp3,mp3float,opus,libopus,vorbis,speex,"
    "wavpack,wmav1,wmav2,wmapro,wmalossless,wmavoice,gsm,gsm_ms,g722,g726,nellymoser,qdm2,adpcm_ms,adpcm_ima_wav,"
    "adpcm_ima_qt,adpcm_swf,adpcm_yamaha,pcm_alaw,pcm_mulaw,pcm_bluray,pcm_dvd,pcm_s8,pcm_u8,pcm_s16le,pcm_s16be,"
    "pcm_s16le_planar,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be"
)
DECODERS = frozenset(f"{VIDEO_DECODERS},{SOUND_DECODERS}".split(","))
# Matroska keeps the transparency of these beside the picture; only these decoders put both together.
WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
MAX_TRACKS = 50  # phones and cameras write up to ten: picture, sound, positions, times
DECODER_THREADS = 4  # each keeps frames of its own in memory
STILL_BRANDS = {"heic", "heix", "heim", "heis", "mif1", "msf1", "avif", "avis"}  # pictures in an mp4 box structure
# ValueError: PyAV's own checks, and frames that change their format midway. OSError: the file itself.
DECODE_ERRORS = (av.error.FFmpegError, ValueError, OSError)
USUAL_PACKET_SECONDS = 0.02  # where a track does not say
MAX_INTERRUPTIONS = 100  # of a demuxer in one file
Track = TypeVar("Track", VideoStream, AudioStream)


@contextmanager
def decoding(failure: ServiceError) -> Iterator[None]:
    """Raises `failure` for what FFmpeg cannot decode. MemoryError passes: it says nothing of what the file is."""
    try:
        yield
    except MemoryError:
        raise
    except DECODE_ERRORS as error:
        raise failure from error


def open_source(source: Path | Stretches) -> InputContainer:
    """Open a file of one of `FORMATS`. Raises one of `DECODE_ERRORS` for anything else."""
    return av.open(
        str(source) if isinstance(source, Path) else source,
        mode="r",
        options={
            "format_whitelist": FORMATS,
            "protocol_whitelist": "file",
            # FFmpeg decodes the first frames already while it opens a file. Those between the two limits of pixels are
            # let in, because else the size that is to be told would not be known.
            "codec_whitelist": ",".join(sorted(DECODERS)),
            "max_pixels": str(MAX_PIXELS),
            "max_streams": str(MAX_TRACKS),
        },
        metadata_errors="replace",  # old mp3 tags are not UTF-8, and that is no reason to refuse a voice
    )


def moving_picture(container: InputContainer) -> VideoStream | None:
    """The video track that players choose; a cover picture is none, and a HEIC photo is not a film."""
    if container.metadata.get("major_brand", "") in STILL_BRANDS:
        return None
    still = Disposition.attached_pic | Disposition.timed_thumbnails
    for stream in _default_first(container.streams.video):
        context = stream.codec_context
        if context is not None and context.name in DECODERS and not stream.disposition & still:
            return stream
    return None


def sound_track(container: InputContainer) -> AudioStream | None:
    """The audio track that players choose, of those that there is a decoder for."""
    for stream in _default_first(container.streams.audio):
        if stream.codec_context is not None and stream.codec_context.name in DECODERS:
            return stream
    return None


def _default_first(streams: Iterable[Track]) -> list[Track]:
    """In the file's order, but those that it marks as the default before the others."""
    return sorted(streams, key=lambda stream: not stream.disposition & Disposition.default)


def decoded_size(*contexts: VideoCodecContext) -> tuple[int, int]:
    """The largest width and height in pixels of what is decoded, of which a part is shown: a film may say that all but
    a corner is cut off. Known with the first frame; before it, the size that is shown.
    """
    width = max(max(context.width, context.coded_width) for context in contexts)
    height = max(max(context.height, context.coded_height) for context in contexts)
    return width, height


def video_frames(
    container: InputContainer, stream: VideoStream, *, source: Path, damage: Damage, param: str
) -> Iterator[VideoFrame]:
    """Decode to the end, frame by frame; what cannot be decoded is left out, and counted by `damage`.

    Raises ServiceError: of `damage`, and media_too_complex when its frames come faster than `film_cost` allows.
    """
    stream.thread_type = "AUTO"
    _limit(stream.codec_context)
    _begin(container, stream, source, damage)
    for frame in _frames(container, stream, source, damage, FilmCost(param, container.format.name)):
        if isinstance(frame, VideoFrame):
            yield frame


def skim(container: InputContainer, stream: VideoStream, *, source: Path, damage: Damage) -> None:
    """Go through the packets of a film to its end without decoding them: finds what was cut off, or lies in a broken
    place, and not what is damaged within a packet.
    """
    _begin(container, stream, source, damage)
    latest = 0.0
    for packet, end_seconds in _packets(container, damage):
        latest = max(latest, end_seconds)
        if packet.size and packet.stream.index == stream.index:
            damage.passes(packet)
            if packet.is_corrupt:
                damage.fails(packet)
            else:
                damage.decoded()
    start = float(stream.start_time * stream.time_base) if stream.start_time and stream.time_base else 0.0
    damage.read_seconds = max(0.0, damage.end_seconds - start - damage.lost_seconds)
    damage.ends_early(missing_seconds(container, stream, source, damage=damage, samples=0, latest_seconds=latest))


def audio_frames(
    container: InputContainer, stream: AudioStream, *, source: Path | Stretches, damage: Damage
) -> Iterator[AudioFrame]:
    """Decode to the end, frame by frame; what cannot be decoded is left out, and counted by `damage`, whose
    ServiceError is raised when there is too much of it.
    """
    _begin(container, stream, source, damage)
    for frame in _frames(container, stream, source, damage, None):
        if isinstance(frame, AudioFrame):
            yield frame


def _begin(
    container: InputContainer, stream: VideoStream | AudioStream, source: Path | Stretches, damage: Damage
) -> None:
    if isinstance(stream, VideoStream):
        rate = stream.average_rate or stream.guessed_rate
        packet_seconds = float(1 / rate) if rate else 0.0
    else:
        context = stream.codec_context
        packet_seconds = context.frame_size / context.sample_rate if context.sample_rate else 0.0
    places = BrokenPlaces(source, container.format.name)
    tick_seconds = float(stream.time_base or 0)
    damage.begin(container.format.name, tick_seconds, packet_seconds or USUAL_PACKET_SECONDS, places.is_between)


def _limit(context: VideoCodecContext) -> None:
    context.thread_count = DECODER_THREADS
    context.options = {"max_pixels": str(MAX_FILM_PIXELS)}


def _with_alpha(stream: VideoStream | AudioStream) -> VideoCodecContext | None:
    """A decoder for a film whose transparency lies beside its picture; None for all others."""
    name = WITH_ALPHA.get(stream.codec_context.name) if stream.metadata.get("alpha_mode") == "1" else None
    if name is None:
        return None
    context = cast(VideoCodecContext, CodecContext.create(name, "r"))
    context.extradata = stream.codec_context.extradata
    _limit(context)
    return context


def _frames(
    container: InputContainer,
    stream: VideoStream | AudioStream,
    source: Path | Stretches,
    damage: Damage,
    cost: FilmCost | None,
) -> Iterator[VideoFrame | AudioFrame]:
    # Recorders that stream a WAV cannot know its length, and FFmpeg calls the last packet of such a file corrupt.
    uncompressed = stream.codec_context.name.startswith("pcm_")
    alpha = _with_alpha(stream)
    samples, latest = 0, 0.0
    for packet, end_seconds in _packets(container, damage):
        latest = max(latest, end_seconds)
        if packet.stream.index != stream.index:  # not `stream_index`, which the last, empty packet does not have
            continue
        is_corrupt = packet.is_corrupt and not uncompressed
        if packet.size:
            damage.passes(packet)
            if cost is not None and isinstance(stream, VideoStream):
                cost.add(packet, *decoded_size(stream.codec_context, *([alpha] if alpha else [])))
            if is_corrupt and isinstance(stream, VideoStream):
                damage.fails(packet)  # and yet it is decoded: half a picture looks better than none
            elif is_corrupt and container.format.name == "mpegts":
                damage.tears()  # something is missing in or behind it; most of what is there can be heard
            elif is_corrupt:
                damage.fails(packet)
                continue
        silence = silence_of(packet, stream) if isinstance(stream, AudioStream) else None
        try:
            if silence:
                frames: Sequence[object] = [silence]
            else:
                frames = alpha.decode(packet if packet.size else None) if alpha else packet.decode()
        except MemoryError:
            raise
        except DECODE_ERRORS:
            if packet.size and not (is_corrupt and isinstance(stream, VideoStream)):
                damage.fails(packet)
            continue
        for frame in frames:
            if isinstance(frame, VideoFrame | AudioFrame):
                damage.decoded()
                samples += frame.samples if isinstance(frame, AudioFrame) else 0
                yield frame
    damage.ends_early(missing_seconds(container, stream, source, damage=damage, samples=samples, latest_seconds=latest))


def _packets(container: InputContainer, damage: Damage) -> Iterator[tuple["Packet[Any]", float]]:
    """Of all tracks, each with the second at which it ends, 0 when the container does not say.

    A demuxer that meets something broken can often go on behind it.
    """
    ticks = [float(stream.time_base or 0) for stream in container.streams]
    for _ in range(MAX_INTERRUPTIONS):
        try:
            for packet in container.demux():
                is_timed = packet.size and packet.dts is not None and packet.stream_index < len(ticks)
                damage.covers(packet)
                ends = (packet.dts or 0) + (packet.duration or 0)
                yield packet, ends * ticks[packet.stream_index] if is_timed else 0.0
        except MemoryError:
            raise
        except (*DECODE_ERRORS, IndexError):  # IndexError: what is broken looks like a track that was not there before
            damage.tears()
            continue
        return
