"""What a file begins as, in words: also of files that nothing here can read, so that the message can name them.

Nothing is decoded here, and nothing of the file's own text is told: it may come from a place that the customer cannot
read.
"""

import codecs
import re
from dataclasses import dataclass
from enum import Flag, auto
from pathlib import Path

HEAD_BYTES = 64 * 1024


class Is(Flag):
    """What it could be used as if it were not damaged; and whether its format is read here."""

    PICTURE = auto()
    SOUND = auto()
    FILM = auto()
    READ_HERE = auto()
    NOTHING = 0


@dataclass(frozen=True)
class Beginning:
    words: str  # that follow "This is", such as `a web page (HTML)`
    kind: Is


READ_PICTURE, READ_SOUND, READ_FILM = Is.PICTURE | Is.READ_HERE, Is.SOUND | Is.READ_HERE, Is.FILM | Is.READ_HERE
# What files begin with. The first that matches counts.
_SIGNATURES: list[tuple[bytes, str, Is]] = [
    (rb"\xff\xd8\xff", "a picture (JPEG)", READ_PICTURE),
    (rb"\x89PNG\r\n\x1a\n", "a picture (PNG)", READ_PICTURE),
    (rb"RIFF....WEBP", "a picture (WebP)", READ_PICTURE),
    (rb"GIF8[79]a", "a picture (GIF)", READ_PICTURE),
    (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", "a picture (BMP)", READ_PICTURE),
    (rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", "a picture (HEIC)", READ_PICTURE),
    (rb"....ftypavi[fs]", "a picture (AVIF)", READ_PICTURE),
    (rb"II\*\0....CR|....ftypcrx |IIRO|IIRS|IIU\0|FUJIFILMCCD-RAW|FOVb|\0MRM", "a raw photo of a camera", Is.PICTURE),
    (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "a picture (TIFF)", READ_PICTURE),
    (rb"8BPS", "a Photoshop document (PSD)", Is.PICTURE),
    (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", "a picture (JPEG XL)", Is.PICTURE),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "a picture (JPEG 2000)", Is.PICTURE),
    (rb"II\xbc\x01", "a picture (JPEG XR)", Is.PICTURE),
    (rb"\0\0[\x01\x02]\0[^\0]\0.{3}\0", "an icon (ICO)", Is.PICTURE),
    (rb"icns", "an icon (ICNS)", Is.PICTURE),
    (rb"\x76\x2f\x31\x01", "a picture (OpenEXR)", Is.PICTURE),
    (rb"#\?RADIANCE", "a picture (Radiance HDR)", Is.PICTURE),
    (rb"DDS \x7c\0\0\0", "a picture (DDS)", Is.PICTURE),
    (rb"P[1-7]\s", "a picture (PNM)", Is.PICTURE),
    (rb"qoif", "a picture (QOI)", Is.PICTURE),
    (rb"gimp xcf", "a GIMP document (XCF)", Is.PICTURE),
    (rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF", "a drawing (WMF or EMF)", Is.PICTURE),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript document (EPS)", Is.PICTURE),
    (rb"RIFF....WAVE|RF64....WAVE|riff\x2e\x91\xcf\x11", "a sound (WAV)", READ_SOUND),
    # The names of layers 1 to 3 of MPEG audio, ISO/IEC 11172-3, 2.4.2.3.
    (rb"ID3|\xff[\xe2-\xe7\xf2-\xf7\xfa-\xfd][^\xf0-\xff]", "a sound (MP3)", READ_SOUND),
    (rb"fLaC", "a sound (FLAC)", READ_SOUND),
    (rb"OggS", "a sound or a film (Ogg)", READ_SOUND | READ_FILM),
    (rb"....ftypM4[AB]", "a sound (M4A)", READ_SOUND),
    (rb"FORM....AIF[FC]", "a sound (AIFF)", READ_SOUND),
    (rb"caff", "a sound (CAF)", READ_SOUND),
    (rb"#!AMR", "a sound (AMR)", READ_SOUND),
    (rb"\xff[\xf0\xf1\xf8\xf9]", "a sound (AAC)", READ_SOUND),
    (rb"\x0b\x77|\x77\x0b", "a sound (AC-3)", READ_SOUND),
    (rb"\.snd", "a sound (AU)", READ_SOUND),
    (rb"MThd|RIFF....RMID", "music as notes (MIDI)", Is.SOUND),
    (rb"Extended Module: |IMPM|.{44}SCRM", "music as notes (a tracker module)", Is.SOUND),
    (rb"wvpk", "a sound (WavPack)", Is.SOUND),
    (rb"MAC ", "a sound (Monkey's Audio)", Is.SOUND),
    (rb"MPCK|MP\+", "a sound (Musepack)", Is.SOUND),
    (rb"TTA1", "a sound (True Audio)", Is.SOUND),
    (rb"DSD |FRM8....{8}DSD ", "a sound (DSD)", Is.SOUND),
    (rb"\x7f\xfe\x80\x01|\xfe\x7f\x01\x80|\x1f\xff\xe8\0|\xff\x1f\0\xe8", "a sound (DTS)", Is.SOUND),
    (rb"Creative Voice File", "a sound (VOC)", Is.SOUND),
    (rb"....ftypqt  |....(moov|mdat|wide)", "a film (QuickTime)", READ_FILM),
    (rb"....ftyp", "a film (MP4)", READ_FILM),
    (rb"\x1aE\xdf\xa3", "a film (Matroska or WebM)", READ_FILM),
    (rb"RIFF....AVI ", "a film (AVI)", READ_FILM),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a film or a sound (WMV or WMA)", READ_SOUND | READ_FILM),
    (rb"FLV\x01", "a film (FLV)", READ_FILM),
    (rb"\0\0\x01\xba", "a film (MPEG)", READ_FILM),
    (rb"\x47.{187}\x47", "a film (MPEG-TS)", READ_FILM),
    (rb"\.RMF|\.ra\xfd", "a film or a sound (RealMedia)", Is.FILM | Is.SOUND),
    (rb"\x06\x0e\x2b\x34", "a film (MXF)", Is.FILM),
    (rb"nut/multimedia container", "a film (NUT)", Is.FILM),
    (rb"[FCZ]WS[\x01-\x40]", "an animation (Flash)", Is.FILM),
    (rb"%PDF-", "a PDF document", Is.NOTHING),
    (rb"AT&TFORM", "a document (DjVu)", Is.NOTHING),
    (rb"PK\x03\x04.{26}\[Content_Types\]\.xml", "a document (Word, Excel or PowerPoint)", Is.NOTHING),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document (Word, Excel or PowerPoint)", Is.NOTHING),
    (rb"\{\\rtf", "a document (RTF)", Is.NOTHING),
    (rb"PK(\x03\x04|\x05\x06|\x07\x08)", "a ZIP archive", Is.NOTHING),
    (rb"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", Is.NOTHING),
    (rb"Rar!\x1a\x07", "a RAR archive", Is.NOTHING),
    (rb".{257}ustar", "a TAR archive", Is.NOTHING),
    (rb"\x1f\x8b|BZh[1-9]|\xfd7zXZ\0|\x28\xb5\x2f\xfd", "a compressed file (gzip, bzip2, xz or zstd)", Is.NOTHING),
    (rb"\0\x05\x16\x07", "the hidden file of a Mac that lies beside another (its name begins with ._)", Is.NOTHING),
    (rb"bplist00", "a property list of a Mac", Is.NOTHING),
    (rb"MZ|\x7fELF|\xcf\xfa\xed\xfe|\xca\xfe\xba\xbe", "a program", Is.NOTHING),
    (rb"SQLite format 3\0", "a database (SQLite)", Is.NOTHING),
    (rb"wOF[F2]|\0\x01\0\0\0|OTTO", "a font", Is.NOTHING),
]
_HTML_TAGS = rb"!doctype\s+html|html|head|body|title|meta|link|script|style|div|table|h1|p|center|iframe|form|a|br|span"
# Of a text, behind white space, comments and the declaration of XML.
_MARKUP: list[tuple[bytes, str, Is]] = [
    (rb"(<!doctype\s+svg[^>]*>\s*)?<svg[\s/>]|<!doctype\s+svg", "a drawing (SVG)", Is.PICTURE),
    (rb"<(" + _HTML_TAGS + rb")[\s/>]", "a web page (HTML)", Is.NOTHING),
    (rb"<(\w+:)?(Error|Fault)[\s>]", "the error message of a storage (XML)", Is.NOTHING),
    (rb"<(\w+:)?MPD[\s>]", "a playlist (DASH), which names other files", Is.NOTHING),
]
# Of a text, behind white space.
_TEXTS: list[tuple[bytes, str]] = [
    (rb"<\?xml|<!doctype|<!--", "a text (XML)"),
    (rb"#EXTM3U|\[playlist\]|<asx|ffconcat|v=0\r?\no=", "a playlist, which names other files"),
    (rb"WEBVTT|\d+\r?\n\d\d:\d\d:\d\d[,.]\d{3} -->", "a file of subtitles"),
    (rb"version https://git-lfs", "a pointer of Git LFS to a file"),
    (
        rb"data:(image|audio|video)/|iVBORw0KGgo|/9j/4|UklGR|SUQz|R0lGOD|T2dnU",
        "a file written as text (Base64)",
    ),
    (rb"\[InternetShortcut\]|https?://\S+\s*$", "an address written as text"),
    (rb"[\[{]\s*([\"\[{\d\]}-]|true|false|null)", "a text (JSON)"),
]
_COMPILED = [(re.compile(pattern, re.DOTALL), Beginning(words, kind)) for pattern, words, kind in _SIGNATURES]
_COMPILED_MARKUP, _COMPILED_TEXTS = (
    [(re.compile(pattern, re.DOTALL | re.IGNORECASE), Beginning(words, kind)) for pattern, words, kind in texts]
    for texts in (_MARKUP, [(pattern, words, Is.NOTHING) for pattern, words in _TEXTS])
)
_DECLARATION = re.compile(rb"\s*(<\?xml[^>]*>\s*)?", re.IGNORECASE)
_NOT_IN_TEXT = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")
_HTML_BEHIND_TEXT = re.compile(rb"<(html|body|script)[\s>]", re.IGNORECASE)


def recognise(path: Path) -> Beginning | None:
    """None for what is not known. That a file begins so does not mean that it can be read to its end."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        return Beginning("an empty file (0 bytes)", Is.NOTHING)
    if not head.strip(b"\0"):
        return Beginning("a file of zeros, which a broken transfer has left", Is.NOTHING)
    for pattern, beginning in _COMPILED:
        if pattern.match(head):
            return beginning
    return _text(head)


def _text(head: bytes) -> Beginning | None:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16; all that is looked for is ASCII.
        head = head[2:].replace(b"\0", b"")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _NOT_IN_TEXT.search(text):
        return None
    markup_at = _behind_comments(text)
    for compiled, at in ((_COMPILED_MARKUP, markup_at), (_COMPILED_TEXTS, 0)):
        for pattern, beginning in compiled:
            if pattern.match(text, at):
                return beginning
    if _HTML_BEHIND_TEXT.search(text):
        return Beginning("a web page (HTML)", Is.NOTHING)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(text)  # The last letter may have been cut.
    except UnicodeDecodeError:
        return None
    return Beginning("a text", Is.NOTHING) if text[1:] else None


def _behind_comments(text: bytes) -> int:
    """Where the first tag of a page or of XML begins. A loop: a regular expression would try every end of every comment
    with every end of the next one, which takes for ever.
    """
    at = 0
    while True:
        declaration = _DECLARATION.match(text, at)
        behind = declaration.end() if declaration else at
        if text.startswith(b"<!--", behind):
            end = text.find(b"-->", behind + 4)
            if end < 0:
                return behind
            behind = end + 3
        if behind == at:
            return at
        at = behind
