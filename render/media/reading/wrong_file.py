"""Messages for a file that is not what a request needs: what the file is, and what to send instead."""

from collections.abc import Iterable
from pathlib import Path

from av.audio.stream import AudioStream
from av.video.stream import VideoStream

from render.media.reading.file_types import FileKind, FileType, recognise
from render.media.reading.image_formats import ACCEPTED as IMAGES
from render.media.reading.opening import DECODE_ERRORS, STILL_IMAGES, audio_track, open_source, video_track

AUDIO = "WAV, MP3, M4A, AAC, FLAC, Ogg, Opus, WebM, AIFF, CAF, AMR, WMA, AC-3, AU"
VIDEOS = "MP4, MOV, WebM, MKV, AVI, MPEG, WMV, FLV"
SEND_IMAGE = f"Send an image ({IMAGES}) or a video ({VIDEOS})."
SEND_AUDIO = f"Send audio ({AUDIO}) or a video with audio."
SEND_ANY = f"Send an image ({IMAGES}), a video ({VIDEOS}) or audio ({AUDIO})."


def why_not_image(source: Path) -> str:
    """For a file that could not be read as an image, and is not a video that can be read."""
    file_type = recognise(source)
    tracks = _Tracks(source, file_type)
    if tracks.unreadable_video:
        return _unreadable("video", tracks.unreadable_video, SEND_IMAGE)
    if not tracks.has_video and (tracks.has_audio or tracks.unreadable_audio):
        words = file_type.words if file_type and not file_type.kind & FileKind.VIDEO else "audio"
        return f"This is {words}, not an image. {SEND_IMAGE}"
    return _by_type(file_type, usable=FileKind.IMAGE | FileKind.VIDEO, needed="an image", send=SEND_IMAGE)


def why_unreadable_video(source: Path) -> str | None:
    """For a file that cannot be read as an image, video or audio; None when its type is not a video either."""
    file_type = recognise(source)
    if (
        file_type is None
        or FileKind.VIDEO | FileKind.READ_HERE not in file_type.kind
        or FileKind.AUDIO in file_type.kind
    ):
        return None
    tracks = _Tracks(source, file_type)
    if tracks.unreadable_video:
        return _unreadable("video", tracks.unreadable_video, SEND_IMAGE)
    return None if tracks.unreadable_audio else _damaged(file_type)


def why_not_audio(source: Path) -> str | None:
    """For a file that could not be read as a voice; None when it has an audio track that can be read."""
    file_type = recognise(source)
    tracks = _Tracks(source, file_type)
    if tracks.has_audio:
        return None
    if tracks.unreadable_audio:
        return _unreadable("audio", tracks.unreadable_audio, SEND_AUDIO)
    if tracks.has_video or tracks.unreadable_video:
        return f"This is a video without an audio track. {SEND_AUDIO}"
    return _by_type(file_type, usable=FileKind.AUDIO | FileKind.VIDEO, needed="audio", send=SEND_AUDIO)


def why_not_media(source: Path) -> str:
    """For a file that is not an image, a video or audio."""
    file_type = recognise(source)
    tracks = _Tracks(source, file_type)
    codecs = tracks.unreadable_video or tracks.unreadable_audio
    if codecs:
        return _unreadable("file", codecs, SEND_ANY)
    usable = FileKind.IMAGE | FileKind.VIDEO | FileKind.AUDIO
    return _by_type(file_type, usable=usable, needed="an image, a video or audio", send=SEND_ANY)


def _by_type(file_type: FileType | None, *, usable: FileKind, needed: str, send: str) -> str:
    if file_type is None:
        return f"The format of the file is not known. {send}"
    if not file_type.kind & usable:
        return f"This is {file_type.words}, not {needed}. {send}"
    if FileKind.READ_HERE in file_type.kind:
        return _damaged(file_type)
    return f"This is {file_type.words}, a format that cannot be read. {send}"


def _unreadable(subject: str, codecs: str, send: str) -> str:
    return f"The {subject} is encoded as {codecs}, a codec that cannot be read. {send}"


def _damaged(file_type: FileType) -> str:
    state = "is damaged or incomplete" if FileKind.IMAGE in file_type.kind else "is damaged or was cut off"
    return f"This {file_type.noun} {state}. Send it again, or send the original."


class _Tracks:
    """The tracks that FFmpeg finds. Empty for a file that it cannot open, and for HEIC and AVIF images."""

    def __init__(self, source: Path, file_type: FileType | None) -> None:
        self.has_video = self.has_audio = False
        self.unreadable_video = self.unreadable_audio = ""  # names of codecs
        if file_type is not None and FileKind.IMAGE in file_type.kind:
            return
        try:
            with open_source(source) as container:
                self.has_video = video_track(container) is not None
                self.has_audio = audio_track(container) is not None
                if not self.has_video:
                    moving = [stream for stream in container.streams.video if not stream.disposition & STILL_IMAGES]
                    self.unreadable_video = _codec_names(moving)
                if not self.has_audio:
                    self.unreadable_audio = _codec_names(container.streams.audio)
        except DECODE_ERRORS:
            pass


def _codec_names(streams: Iterable[VideoStream | AudioStream]) -> str:
    contexts = [stream.codec_context for stream in streams]
    return " and ".join(dict.fromkeys(context.name if context else "an unknown codec" for context in contexts))
