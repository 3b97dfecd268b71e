"""What a customer is told of a file that is not what was wanted: what it is, and what is wanted."""

from collections.abc import Iterable
from pathlib import Path

from av.audio.stream import AudioStream
from av.stream import Disposition
from av.video.stream import VideoStream

from render.media.reading.demux import DECODE_ERRORS, moving_picture, open_source, sound_track
from render.media.reading.file_types import Beginning, Is, recognise
from render.media.reading.image_formats import ACCEPTED as PICTURES

SOUNDS = "WAV, MP3, M4A, AAC, FLAC, Ogg, Opus, WebM, AIFF, CAF, AMR, WMA, AC-3, AU"
FILMS = "MP4, MOV, WebM, MKV, AVI, MPEG, WMV, FLV"
A_PICTURE = f"a picture ({PICTURES}) or a film ({FILMS})"
A_SOUND = f"a sound ({SOUNDS}), or a film with sound"
ANYTHING = f"a picture ({PICTURES}), a film ({FILMS}) or a sound ({SOUNDS})"
_NO_FILM = Disposition.attached_pic | Disposition.timed_thumbnails


def instead_of_picture(source: Path) -> str:
    """Of a file that could not be read as a picture, and is no film that can be read."""
    beginning = recognise(source)
    tracks = _Tracks(source, beginning)
    if tracks.unreadable_films:
        return _encoded("film", tracks.unreadable_films, A_PICTURE)
    if not tracks.has_film and (tracks.has_sound or tracks.unreadable_sounds):
        words = beginning.words if beginning and not beginning.kind & Is.FILM else "a sound"
        return f"This is {words}, not a picture. {_wanted(A_PICTURE)}"
    return _say(beginning, wanted=A_PICTURE, usable=Is.PICTURE | Is.FILM, name="a picture")


def unreadable_film(source: Path) -> str | None:
    """Of a file that cannot be read as a picture, a film or a sound; None when it does not begin as a film either."""
    beginning = recognise(source)
    if beginning is None or Is.FILM | Is.READ_HERE not in beginning.kind or Is.SOUND in beginning.kind:
        return None
    tracks = _Tracks(source, beginning)
    if tracks.unreadable_films:
        return _encoded("film", tracks.unreadable_films, A_PICTURE)
    return None if tracks.unreadable_sounds else _damaged(beginning)


def instead_of_sound(source: Path) -> str | None:
    """Of a file that could not be read as a voice; None when it has a sound track that can be read."""
    beginning = recognise(source)
    tracks = _Tracks(source, beginning)
    if tracks.has_sound:
        return None
    if tracks.unreadable_sounds:
        return _encoded("sound", tracks.unreadable_sounds, A_SOUND)
    if tracks.has_film or tracks.unreadable_films:
        return f"This is a film without a sound track, so there is no sound in it. {_wanted(A_SOUND)}"
    return _say(beginning, wanted=A_SOUND, usable=Is.SOUND | Is.FILM, name="a sound")


def instead_of_media(source: Path) -> str:
    """Of a file that is neither a picture nor a film nor a sound."""
    beginning = recognise(source)
    tracks = _Tracks(source, beginning)
    codecs = tracks.unreadable_films or tracks.unreadable_sounds
    if codecs:
        return _encoded("file", codecs, ANYTHING)
    usable = Is.PICTURE | Is.FILM | Is.SOUND
    return _say(beginning, wanted=ANYTHING, usable=usable, name="a picture, film or sound")


def _say(beginning: Beginning | None, *, wanted: str, usable: Is, name: str) -> str:
    if beginning is None:
        return f"The format of the file is not known. {_wanted(wanted)}"
    if not beginning.kind & usable:
        return f"This is {beginning.words}, not {name}. {_wanted(wanted)}"
    if Is.READ_HERE in beginning.kind:
        return _damaged(beginning)
    return f"This is {beginning.words}, which cannot be read here. {_wanted(wanted)}"


def _encoded(what: str, codecs: str, wanted: str) -> str:
    return f"The {what} is encoded as {codecs}, which cannot be read here. {_wanted(wanted)}"


def _damaged(beginning: Beginning) -> str:
    name = beginning.words.removeprefix("a ").replace(" or a ", " or ")
    how = "is damaged or incomplete" if Is.PICTURE in beginning.kind else "is damaged or was cut off"
    return f"This {name} {how}. Send it again, or the original."


def _wanted(what: str) -> str:
    return f"Send {what}."


class _Tracks:
    """What FFmpeg finds in a film or a sound. Nothing in a file that it cannot open, and in HEIC and AVIF, which it
    takes for films.
    """

    def __init__(self, source: Path, beginning: Beginning | None) -> None:
        self.has_film = self.has_sound = False
        self.unreadable_films = self.unreadable_sounds = ""  # names of codecs
        if beginning is not None and Is.PICTURE in beginning.kind:
            return
        try:
            with open_source(source) as container:
                self.has_film = moving_picture(container) is not None
                self.has_sound = sound_track(container) is not None
                if not self.has_film:
                    films = [stream for stream in container.streams.video if not stream.disposition & _NO_FILM]
                    self.unreadable_films = _names(films)
                if not self.has_sound:
                    self.unreadable_sounds = _names(container.streams.audio)
        except DECODE_ERRORS:
            pass


def _names(streams: Iterable[VideoStream | AudioStream]) -> str:
    contexts = [stream.codec_context for stream in streams]
    return " and ".join(dict.fromkeys(context.name if context else "something unknown" for context in contexts))
