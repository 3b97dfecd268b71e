"""The type of a file by its first bytes, in words: also types that are not read here, so that a message can name them.

Nothing is decoded here, and no text of the file goes into a message: it may come from a place that the customer must
not read.
"""

import codecs
import re
from dataclasses import dataclass
from enum import Flag, auto
from pathlib import Path

HEAD_BYTES = 64 * 1024


class FileKind(Flag):
    """What a whole file of this type could be used as, and whether the type is read here."""

    IMAGE = auto()
    AUDIO = auto()
    VIDEO = auto()
    READ_HERE = auto()
    OTHER = 0


@dataclass(frozen=True)
class FileType:
    words: str  # that follow "This is", such as "a web page (HTML)"
    kind: FileKind

    @property
    def noun(self) -> str:
        """The words without an article, such as "web page (HTML)"."""
        return self.words.removeprefix("a ").removeprefix("an ")


READ_IMAGE = FileKind.IMAGE | FileKind.READ_HERE
READ_AUDIO = FileKind.AUDIO | FileKind.READ_HERE
READ_VIDEO = FileKind.VIDEO | FileKind.READ_HERE
# Brands of still images in an mp4 box structure (ISO/IEC 23008-12). FFmpeg opens such files as videos.
HEIC_BRANDS = ("heic", "heix", "heim", "heis", "mif1", "msf1")
AVIF_BRANDS = ("avif", "avis")
STILL_IMAGE_BRANDS = {*HEIC_BRANDS, *AVIF_BRANDS}
_HEIC_SEQUENCE_BRANDS = ("hevc", "hevx", "hevm", "hevs")


def _ftyp(*brands: str) -> bytes:
    """The pattern of an mp4 box structure of one of these brands."""
    return b"....ftyp(" + "|".join(brands).encode() + b")"


# First bytes of files. The first pattern that matches counts.
_SIGNATURES: list[tuple[bytes, str, FileKind]] = [
    (rb"\xff\xd8\xff", "an image (JPEG)", READ_IMAGE),
    (rb"\x89PNG\r\n\x1a\n", "an image (PNG)", READ_IMAGE),
    (rb"RIFF....WEBP", "an image (WebP)", READ_IMAGE),
    (rb"GIF8[79]a", "an image (GIF)", READ_IMAGE),
    (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", "an image (BMP)", READ_IMAGE),
    (_ftyp(*HEIC_BRANDS, *_HEIC_SEQUENCE_BRANDS), "an image (HEIC)", READ_IMAGE),
    (_ftyp(*AVIF_BRANDS), "an image (AVIF)", READ_IMAGE),
    (
        rb"II\*\0....CR|....ftypcrx |IIRO|IIRS|IIU\0|FUJIFILMCCD-RAW|FOVb|\0MRM",
        "a raw photo from a camera",
        FileKind.IMAGE,
    ),
    (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "an image (TIFF)", READ_IMAGE),
    (rb"8BPS", "a Photoshop document (PSD)", FileKind.IMAGE),
    (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", "an image (JPEG XL)", FileKind.IMAGE),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "an image (JPEG 2000)", FileKind.IMAGE),
    (rb"II\xbc\x01", "an image (JPEG XR)", FileKind.IMAGE),
    (rb"\0\0[\x01\x02]\0[^\0]\0.{3}\0", "an icon (ICO)", FileKind.IMAGE),
    (rb"icns", "an icon (ICNS)", FileKind.IMAGE),
    (rb"\x76\x2f\x31\x01", "an image (OpenEXR)", FileKind.IMAGE),
    (rb"#\?RADIANCE", "an image (Radiance HDR)", FileKind.IMAGE),
    (rb"DDS \x7c\0\0\0", "an image (DDS)", FileKind.IMAGE),
    (rb"P[1-7]\s", "an image (PNM)", FileKind.IMAGE),
    (rb"qoif", "an image (QOI)", FileKind.IMAGE),
    (rb"gimp xcf", "a GIMP document (XCF)", FileKind.IMAGE),
    (rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF", "a drawing (WMF or EMF)", FileKind.IMAGE),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript document (EPS)", FileKind.IMAGE),
    (rb"RIFF....WAVE|RF64....WAVE|riff\x2e\x91\xcf\x11", "audio (WAV)", READ_AUDIO),
    # The names of layers 1 to 3 of MPEG audio, ISO/IEC 11172-3, 2.4.2.3.
    (rb"ID3|\xff[\xe2-\xe7\xf2-\xf7\xfa-\xfd][^\xf0-\xff]", "audio (MP3)", READ_AUDIO),
    (rb"fLaC", "audio (FLAC)", READ_AUDIO),
    (rb"OggS", "audio or video (Ogg)", READ_AUDIO | READ_VIDEO),
    (rb"....ftypM4[AB]", "audio (M4A)", READ_AUDIO),
    (rb"FORM....AIF[FC]", "audio (AIFF)", READ_AUDIO),
    (rb"caff", "audio (CAF)", READ_AUDIO),
    (rb"#!AMR", "audio (AMR)", READ_AUDIO),
    (rb"\xff[\xf0\xf1\xf8\xf9]", "audio (AAC)", READ_AUDIO),
    (rb"\x0b\x77|\x77\x0b", "audio (AC-3)", READ_AUDIO),
    (rb"\.snd", "audio (AU)", READ_AUDIO),
    (rb"MThd|RIFF....RMID", "a MIDI file (notes without audio)", FileKind.AUDIO),
    (rb"Extended Module: |IMPM|.{44}SCRM", "a tracker module (notes with samples)", FileKind.AUDIO),
    (rb"wvpk", "audio (WavPack)", FileKind.AUDIO),
    (rb"MAC ", "audio (Monkey's Audio)", FileKind.AUDIO),
    (rb"MPCK|MP\+", "audio (Musepack)", FileKind.AUDIO),
    (rb"TTA1", "audio (True Audio)", FileKind.AUDIO),
    (rb"DSD |FRM8....{8}DSD ", "audio (DSD)", FileKind.AUDIO),
    (rb"\x7f\xfe\x80\x01|\xfe\x7f\x01\x80|\x1f\xff\xe8\0|\xff\x1f\0\xe8", "audio (DTS)", FileKind.AUDIO),
    (rb"Creative Voice File", "audio (VOC)", FileKind.AUDIO),
    (rb"....ftypqt  |....(moov|mdat|wide)", "a video (QuickTime)", READ_VIDEO),
    (rb"....ftyp", "a video (MP4)", READ_VIDEO),
    (rb"\x1aE\xdf\xa3", "a video (Matroska or WebM)", READ_VIDEO),
    (rb"RIFF....AVI ", "a video (AVI)", READ_VIDEO),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video or audio (WMV or WMA)", READ_AUDIO | READ_VIDEO),
    (rb"FLV\x01", "a video (FLV)", READ_VIDEO),
    (rb"\0\0\x01\xba", "a video (MPEG)", READ_VIDEO),
    (rb"\x47.{187}\x47", "a video (MPEG-TS)", READ_VIDEO),
    (rb"\.RMF|\.ra\xfd", "video or audio (RealMedia)", FileKind.VIDEO | FileKind.AUDIO),
    (rb"\x06\x0e\x2b\x34", "a video (MXF)", FileKind.VIDEO),
    (rb"nut/multimedia container", "a video (NUT)", FileKind.VIDEO),
    (rb"[FCZ]WS[\x01-\x40]", "an animation (Flash)", FileKind.VIDEO),
    (rb"%PDF-", "a PDF document", FileKind.OTHER),
    (rb"AT&TFORM", "a document (DjVu)", FileKind.OTHER),
    (rb"PK\x03\x04.{26}\[Content_Types\]\.xml", "a document (Word, Excel or PowerPoint)", FileKind.OTHER),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a document (Word, Excel or PowerPoint)", FileKind.OTHER),
    (rb"\{\\rtf", "a document (RTF)", FileKind.OTHER),
    (rb"PK(\x03\x04|\x05\x06|\x07\x08)", "a ZIP archive", FileKind.OTHER),
    (rb"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", FileKind.OTHER),
    (rb"Rar!\x1a\x07", "a RAR archive", FileKind.OTHER),
    (rb".{257}ustar", "a TAR archive", FileKind.OTHER),
    (rb"\x1f\x8b|BZh[1-9]|\xfd7zXZ\0|\x28\xb5\x2f\xfd", "a compressed file (gzip, bzip2, xz or zstd)", FileKind.OTHER),
    (rb"\0\x05\x16\x07", "the hidden file of a Mac that lies beside another (its name begins with ._)", FileKind.OTHER),
    (rb"bplist00", "a property list of a Mac", FileKind.OTHER),
    (rb"MZ|\x7fELF|\xcf\xfa\xed\xfe|\xca\xfe\xba\xbe", "a program", FileKind.OTHER),
    (rb"SQLite format 3\0", "a database (SQLite)", FileKind.OTHER),
    (rb"wOF[F2]|\0\x01\0\0\0|OTTO", "a font", FileKind.OTHER),
]
_HTML_TAGS = rb"!doctype\s+html|html|head|body|title|meta|link|script|style|div|table|h1|p|center|iframe|form|a|br|span"
# First tags of a text, after white space, comments and an XML declaration.
_MARKUP: list[tuple[bytes, str, FileKind]] = [
    (rb"(<!doctype\s+svg[^>]*>\s*)?<svg[\s/>]|<!doctype\s+svg", "a drawing (SVG)", FileKind.IMAGE),
    (rb"<(" + _HTML_TAGS + rb")[\s/>]", "a web page (HTML)", FileKind.OTHER),
    (rb"<(\w+:)?(Error|Fault)[\s>]", "the error message of a storage (XML)", FileKind.OTHER),
    (rb"<(\w+:)?MPD[\s>]", "a playlist (DASH), which names other files", FileKind.OTHER),
]
# First characters of a text, after white space.
_TEXTS: list[tuple[bytes, str]] = [
    (rb"<\?xml|<!doctype|<!--", "a text (XML)"),
    (rb"#EXTM3U|\[playlist\]|<asx|ffconcat|v=0\r?\no=", "a playlist, which names other files"),
    (rb"WEBVTT|\d+\r?\n\d\d:\d\d:\d\d[,.]\d{3} -->", "a file of subtitles"),
    (rb"version https://git-lfs", "a pointer of Git LFS to a file"),
    (rb"data:(image|audio|video)/|iVBORw0KGgo|/9j/4|UklGR|SUQz|R0lGOD|T2dnU", "a file written as text (Base64)"),
    (rb"\[InternetShortcut\]|https?://\S+\s*$", "an address written as text"),
    (rb"[\[{]\s*([\"\[{\d\]}-]|true|false|null)", "a text (JSON)"),
]
_COMPILED = [(re.compile(pattern, re.DOTALL), FileType(words, kind)) for pattern, words, kind in _SIGNATURES]
_COMPILED_MARKUP = [
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), FileType(words, kind)) for pattern, words, kind in _MARKUP
]
_COMPILED_TEXTS = [
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), FileType(words, FileKind.OTHER)) for pattern, words in _TEXTS
]
_DECLARATION = re.compile(rb"\s*(<\?xml[^>]*>\s*)?", re.IGNORECASE)
_NOT_IN_TEXT = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")
_HTML_AFTER_TEXT = re.compile(rb"<(html|body|script)[\s>]", re.IGNORECASE)


def recognise(path: Path) -> FileType | None:
    """The type of the file by its first bytes, which does not mean that it can be read to its end. None: not known."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        return FileType("an empty file (0 bytes)", FileKind.OTHER)
    if not head.strip(b"\0"):
        return FileType("a file of zeros, left by a broken transfer", FileKind.OTHER)
    for pattern, file_type in _COMPILED:
        if pattern.match(head):
            return file_type
    return _recognise_text(head)


def _recognise_text(head: bytes) -> FileType | None:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16; the patterns are ASCII
        head = head[2:].replace(b"\0", b"")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _NOT_IN_TEXT.search(text):
        return None
    first_tag = _first_tag(text)
    for pattern, file_type in _COMPILED_MARKUP:
        if pattern.match(text, first_tag):
            return file_type
    for pattern, file_type in _COMPILED_TEXTS:
        if pattern.match(text):
            return file_type
    if _HTML_AFTER_TEXT.search(text):
        return FileType("a web page (HTML)", FileKind.OTHER)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(text)  # incremental: the last character may be cut
    except UnicodeDecodeError:
        return None
    return FileType("a text", FileKind.OTHER) if text[1:] else None


def _first_tag(text: bytes) -> int:
    """The byte after white space, comments and an XML declaration.

    A loop and not a regular expression: that would try every end of every comment with every end of the next one, which
    takes for ever.
    """
    at = 0
    while True:
        declaration = _DECLARATION.match(text, at)
        next_at = declaration.end() if declaration else at
        if text.startswith(b"<!--", next_at):
            end = text.find(b"-->", next_at + 4)
            if end < 0:
                return next_at
            next_at = end + 3
        if next_at == at:
            return at
        at = next_at
