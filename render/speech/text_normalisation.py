"""A script in letters that a voice can read.

Unicode's compatibility form (NFKC) makes plain letters of full-width, mathematical and joined ones. What it would spoil
is written out before: of "10²" it makes 102, and of "1½" eleven halves. The words for signs are English.
"""

import re
import unicodedata
from collections.abc import Callable

from render.speech.say_as import ordinal

_ELLIPSIS = "…"  # NFKC makes three full stops of it, which are three sentence ends to an engine.
_LONGEST_FORM = 6  # characters that NFKC may make of one: of an Arabic phrase in one character it makes 18
_JOINERS = "\u200c\u200d"  # Persian and the scripts of India are wrong without them.
_APOSTROPHES = "‛`´ʹʻʼʽ′＇"  # noqa: RUF001
_QUOTES = {**dict.fromkeys("‘’", "'"), **dict.fromkeys("„‟", "“"), "″": '"'}  # noqa: RUF001
_UNSAID = "™®℠℗"  # marks that nobody reads aloud
_SIGNS = {
    **{"≤": "less than or equal to", "≥": "greater than or equal to", "≠": "not equal to", "≈": "about"},
    **{"∞": "infinity", "√": "the square root of", "‰": "per thousand", "№": "number"},
}
# Units behind a number: letter -> name; 1 of it, more of it. Ω, Å and μ are signs there and letters elsewhere.
_MICRO = {
    **{"m": "meter", "s": "second", "g": "gram", "l": "liter", "L": "liter", "F": "farad", "H": "henry"},
    **{
        "A": "ampere",
        "V": "volt",
        "W": "watt",
        "C": "coulomb",
        "T": "tesla",
        "M": "molar",
        "mol": "mole",
        "Sv": "sievert",
    },
}
_PREFIXES = {"": "", "m": "milli", "k": "kilo", "K": "kilo", "M": "mega", "G": "giga", "μ": "micro"}
_LENGTHS = {"m": "meter", "km": "kilometer", "cm": "centimeter", "mm": "millimeter"}
_POWERS = {"²": "squared", "³": "cubed"}
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")

_NUMBER = r"(?<![\d.,])(\d[\d.,]{0,30})"
_SUPERSCRIPT = re.compile("[⁻⁺]?[⁰¹²³⁴-⁹]{1,30}")  # noqa: RUF001
_SQUARE_UNIT = re.compile(r"(?<=\d)\s?([kcm]?m)([²³])(?![⁰¹²³⁴-⁹])")
_ORDINAL = re.compile(r"(?<![\d.,])(\d{1,9})\.?[ºª](?!\w)")
_DEGREES = re.compile(r"(?<=\d)\s?º\s?(?=[CF]\b)")  # º is typed for °.
_NUMBER_SIGN = re.compile(r"\b[Nn]\.?º\s?(?=\d)")
_FRACTION_AFTER_DIGIT = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞↉])")
_UNIT_OF_MICRO = re.compile(rf"((?<!\d)1\s?)?μ({'|'.join(sorted(_MICRO, key=len, reverse=True))})(?![^\W\d_])")
_LONE_OHM_SIGN = re.compile(r"(?<![\w ])\u2126|(?<!\d) \u2126")
_OHMS = re.compile(rf"{_NUMBER}\s?([mkKMGμ]?)Ω(?!\w)")
_OHMS_OF = re.compile(r"(?<!\w)([mkKMGμ])Ω(?!\w)")
_ANGSTROMS = re.compile(rf"{_NUMBER}\s?Å(?!\w)")
_GREEK_NAME = re.compile("GREEK (?:SMALL|CAPITAL) LETTER (?:FINAL )?([A-Z]+)")
_LATIN_NAME = re.compile(
    "(?:LATIN (?:SMALL|CAPITAL) LETTER (?:SCRIPT )?|LATIN LETTER SMALL CAPITAL "
    "|NEGATIVE (?:SQUARED|CIRCLED) LATIN CAPITAL LETTER )([A-Z])(?: WITH .*)?"
)
_MICRO_AFTER = re.compile(r"\d\s?\Z")
_GREEK = re.compile("[\u0370-\u03ff\u1f00-\u1fff]+")


def readable(text: str, *, english: bool) -> str:
    """For a voice of English, or of another language, whose own signs are then left to its engine."""
    text = _each(text, lambda c: _bare(c, english))
    if not english:
        return unicodedata.normalize("NFC", _each(text, _compatible_but_shapes))
    text = _LONE_OHM_SIGN.sub(" ohm", text).translate(_ENGLISH_SIGNS)
    text = _NUMBER_SIGN.sub("number ", _DEGREES.sub("°", text))
    text = _ORDINAL.sub(lambda found: ordinal(int(found[1])), text)
    text = _SQUARE_UNIT.sub(_square_unit, text)
    text = _SUPERSCRIPT.sub(_power, text)
    text = _FRACTION_AFTER_DIGIT.sub(" and ", text)
    text = unicodedata.normalize("NFC", _each(text, _compatible))
    text = _each(text, _plain).translate(_AFTER_NFKC)
    text = _UNIT_OF_MICRO.sub(_micro_unit, text)
    text = _OHMS.sub(lambda found: f"{found[1]} {_PREFIXES[found[2]]}{_many('ohm', found[1])}", text)
    text = _OHMS_OF.sub(lambda found: f"{_PREFIXES[found[1]]}ohms", text)
    text = _ANGSTROMS.sub(lambda found: f"{found[1]} {_many('angstrom', found[1])}", text)
    text = _GREEK.sub(_greek_letter, text)
    return re.sub(" {2,}", " ", text)


def _each(text: str, change: Callable[[str], str]) -> str:
    """Each different character is looked at once."""
    return text.translate({ord(c): change(c) for c in set(text) if not "\x20" <= c <= "\x7e"})


def _bare(c: str, english: bool) -> str:
    """Without what has no sound: control and format characters, and those that choose how a letter is drawn."""
    if c in "\n\t":
        return c
    if c in "\r\x0b\x0c\x85\u2028\u2029":
        return "\n"
    kind = unicodedata.category(c)
    if kind == "Cf":
        return c if c in _JOINERS and not english else ""
    if kind in ("Cc", "Cs"):
        return " "
    is_drawing = 0xFE00 <= ord(c) <= 0xFE0F or 0xE0100 <= ord(c) <= 0xE01EF or 0x1F3FB <= ord(c) <= 0x1F3FF
    return "" if is_drawing else c


def _compatible(c: str) -> str:
    form = unicodedata.normalize("NFKC", c)
    return c if c == _ELLIPSIS or len(form) > _LONGEST_FORM else form


def _compatible_but_shapes(c: str) -> str:
    """Without what raises, lowers or divides: other languages' engines know their own 1º and m²."""
    shape = unicodedata.decomposition(c).partition(" ")[0]
    return c if shape in ("<super>", "<sub>", "<fraction>") else _compatible(c)


def _plain(c: str) -> str:
    """The usual letter for one that only looks different, digits as ours, and no marks that NFC has left over."""
    if c < "\u0250":  # To here lie the letters of Europe's languages, which the voices know.
        return c
    kind = unicodedata.category(c)
    if kind[0] == "M":
        return ""
    if kind[0] == "N":
        digit = unicodedata.digit(c, None)
        return c if digit is None else str(digit)
    if kind[0] not in "LS":
        return c
    base = unicodedata.normalize("NFD", c)[0]
    if base.isascii():
        return base
    found = _LATIN_NAME.fullmatch(unicodedata.name(c, ""))
    if not found:
        return c
    return found[1] if kind in ("Lu", "So") else found[1].lower()


def _power(found: re.Match[str]) -> str:
    before, _ = _around(found)
    digits = found[0].translate(_SUPERSCRIPTS)
    if not before.isalnum() and before != ")" or found[0] == "¹":
        return f" {digits}"
    return f" {_POWERS[found[0]]} " if found[0] in _POWERS else f" to the power of {digits.replace('-', 'minus ')} "


def _square_unit(found: re.Match[str]) -> str:
    shape = "square" if found[2] == "²" else "cubic"
    return f" {shape} {_LENGTHS[found[1]]}s"


def _micro_unit(found: re.Match[str]) -> str:
    one, unit = found[1] or "", _MICRO[found[2]]
    return f"{one.strip()} micro{_many(unit, one.strip() or '2')}"


def _many(unit: str, number: str) -> str:
    return (
        unit if number == "1" else f"{unit[:-1]}ies" if unit.endswith("y") else unit if unit == "molar" else f"{unit}s"
    )


def _greek_letter(found: re.Match[str]) -> str:
    """One by itself is a sign and has a name; before a Latin letter, μ is micro. A word of them is Greek."""
    text = found[0]
    name = _GREEK_NAME.match(unicodedata.name(text[0], "")) if len(text) == 1 else None
    if name is None:
        return text
    before, after = _around(found)
    if text == "μ" and (after.isalpha() or _MICRO_AFTER.search(found.string, max(found.start() - 2, 0), found.start())):
        return " micro "
    said = "lambda" if name[1] == "LAMDA" else name[1].lower()
    return f"{' ' if before.isalnum() else ''}{said}{' ' if after.isalnum() else ''}"


def _around(found: re.Match[str]) -> tuple[str, str]:
    """The characters before and after, or empty texts."""
    start, end = found.span()
    return found.string[max(start - 1, 0) : start], found.string[end : end + 1]


_ENGLISH_SIGNS = str.maketrans(
    {
        **{sign: f" {words} " for sign, words in _SIGNS.items()},
        **dict.fromkeys(_APOSTROPHES, "'"),
        **_QUOTES,
        **dict.fromkeys(_UNSAID, ""),
        **{"−": "-", "ẞ": "SS"},  # noqa: RUF001
        **{"㎟": "mm²", "㎠": "cm²", "㎡": "m²", "㎢": "km²", "㎣": "mm³", "㎤": "cm³", "㎥": "m³", "㎦": "km³"},
    }
)
_AFTER_NFKC = str.maketrans({**dict.fromkeys(_APOSTROPHES, "'"), **_QUOTES, "⁄": "/", "−": "-"})  # noqa: RUF001
