"""Text normalisation: a script in characters that a voice can read.

Unicode's compatibility form (NFKC) turns full-width, mathematical and joined letters into plain ones. What it would
spoil is written out before: it turns "10²" into 102, and "1½" into eleven halves. The words for signs are English.
"""

import re
import unicodedata
from collections.abc import Callable

from render.speech.say_as import ordinal

_ELLIPSIS = "…"  # NFKC turns it into three full stops, which an engine takes for three sentence ends
_MAX_FORM = 6  # characters that NFKC may make of one; it makes 18 of an Arabic phrase in one character
_JOINERS = "\u200c\u200d"  # Persian and the scripts of India need them
_APOSTROPHES = "‛`´ʹʻʼʽ′＇"  # noqa: RUF001
_QUOTES = {"‘": "'", "’": "'", "„": "“", "‟": "“", "″": '"'}  # noqa: RUF001
_SILENT_SIGNS = "™®℠℗"  # that nobody reads aloud
_SIGNS = {
    "≤": "less than or equal to",
    "≥": "greater than or equal to",
    "≠": "not equal to",
    "≈": "about",
    "∞": "infinity",
    "√": "the square root of",
    "‰": "per thousand",
    "№": "number",
}
# Units after μ -> their names. After a number, Ω, Å and μ are signs of units; elsewhere they are letters.
_MICRO = {
    "m": "meter",
    "s": "second",
    "g": "gram",
    "l": "liter",
    "L": "liter",
    "F": "farad",
    "H": "henry",
    "A": "ampere",
    "V": "volt",
    "W": "watt",
    "C": "coulomb",
    "T": "tesla",
    "M": "molar",
    "mol": "mole",
    "Sv": "sievert",
}
_PREFIXES = {"": "", "m": "milli", "k": "kilo", "K": "kilo", "M": "mega", "G": "giga", "μ": "micro"}
_LENGTHS = {"m": "meter", "km": "kilometer", "cm": "centimeter", "mm": "millimeter"}
_POWERS = {"²": "squared", "³": "cubed"}
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")

_NUMBER = r"(?<![\d.,])(\d[\d.,]{0,30})"
_SUPERSCRIPT = re.compile("[⁻⁺]?[⁰¹²³⁴-⁹]{1,30}")  # noqa: RUF001
_SQUARE_UNIT = re.compile(r"(?<=\d)\s?([kcm]?m)([²³])(?![⁰¹²³⁴-⁹])")
_ORDINAL = re.compile(r"(?<![\d.,])(\d{1,9})\.?[ºª](?!\w)")
_DEGREES = re.compile(r"(?<=\d)\s?º\s?(?=[CF]\b)")  # º is often typed instead of °
_NUMBER_SIGN = re.compile(r"\b[Nn]\.?º\s?(?=\d)")
_FRACTION_AFTER_DIGIT = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞↉])")
_UNIT_OF_MICRO = re.compile(rf"((?<!\d)1\s?)?μ({'|'.join(sorted(_MICRO, key=len, reverse=True))})(?![^\W\d_])")
_LONE_OHM_SIGN = re.compile(r"(?<![\w ])\u2126|(?<!\d) \u2126")
_OHMS = re.compile(rf"{_NUMBER}\s?([mkKMGμ]?)Ω(?!\w)")
_PREFIXED_OHMS = re.compile(r"(?<!\w)([mkKMGμ])Ω(?!\w)")
_ANGSTROMS = re.compile(rf"{_NUMBER}\s?Å(?!\w)")
_GREEK_NAME = re.compile("GREEK (?:SMALL|CAPITAL) LETTER (?:FINAL )?([A-Z]+)")
_LATIN_NAME = re.compile(
    "(?:LATIN (?:SMALL|CAPITAL) LETTER (?:SCRIPT )?|LATIN LETTER SMALL CAPITAL "
    "|NEGATIVE (?:SQUARED|CIRCLED) LATIN CAPITAL LETTER )([A-Z])(?: WITH .*)?"
)
_MICRO_AFTER = re.compile(r"\d\s?\Z")
_GREEK = re.compile("[\u0370-\u03ff\u1f00-\u1fff]+")


def normalise_text(text: str, *, english: bool) -> str:
    """english: for an English voice. For other voices, the signs of their languages are left to the engine."""
    text = _each(text, lambda c: _visible(c, english=english))
    if not english:
        return unicodedata.normalize("NFC", _each(text, _compatible_but_small))
    text = _LONE_OHM_SIGN.sub(" ohm", text).translate(_ENGLISH_SIGNS)
    text = _NUMBER_SIGN.sub("number ", _DEGREES.sub("°", text))
    text = _ORDINAL.sub(lambda match: ordinal(int(match[1])), text)
    text = _SQUARE_UNIT.sub(_square_unit, text)
    text = _SUPERSCRIPT.sub(_power, text)
    text = _FRACTION_AFTER_DIGIT.sub(" and ", text)
    text = unicodedata.normalize("NFC", _each(text, _compatible))
    text = _each(text, _plain).translate(_AFTER_NFKC)
    text = _UNIT_OF_MICRO.sub(_micro_unit, text)
    text = _OHMS.sub(lambda match: f"{match[1]} {_PREFIXES[match[2]]}{_unit_name('ohm', match[1])}", text)
    text = _PREFIXED_OHMS.sub(lambda match: f"{_PREFIXES[match[1]]}ohms", text)
    text = _ANGSTROMS.sub(lambda match: f"{match[1]} {_unit_name('angstrom', match[1])}", text)
    text = _GREEK.sub(_greek_letter, text)
    return re.sub(" {2,}", " ", text)


def _each(text: str, change: Callable[[str], str]) -> str:
    """Replace each character that is not printable ASCII; `change` is called once for each different one."""
    return text.translate({ord(c): change(c) for c in set(text) if not "\x20" <= c <= "\x7e"})


def _visible(c: str, *, english: bool) -> str:
    """Nothing or a space for control and format characters, and for those that choose how a letter is drawn."""
    if c in "\n\t":
        return c
    if c in "\r\x0b\x0c\x85\u2028\u2029":
        return "\n"
    category = unicodedata.category(c)
    if category == "Cf":
        return c if c in _JOINERS and not english else ""
    if category in ("Cc", "Cs"):
        return " "
    # Variation selectors, and skin tones of emoji.
    is_variant = 0xFE00 <= ord(c) <= 0xFE0F or 0xE0100 <= ord(c) <= 0xE01EF or 0x1F3FB <= ord(c) <= 0x1F3FF
    return "" if is_variant else c


def _compatible(c: str) -> str:
    form = unicodedata.normalize("NFKC", c)
    return c if c == _ELLIPSIS or len(form) > _MAX_FORM else form


def _compatible_but_small(c: str) -> str:
    """As `_compatible`, but keeps superscripts, subscripts and fractions: engines of other languages know 1º and m²."""
    form = unicodedata.decomposition(c).partition(" ")[0]
    return c if form in ("<super>", "<sub>", "<fraction>") else _compatible(c)


def _plain(c: str) -> str:
    """The plain letter for one that only looks different, ASCII digits for others, and nothing for a lone mark."""
    if c < "\u0250":  # before it lie the letters of Europe's languages, which the voices know
        return c
    category = unicodedata.category(c)
    if category[0] == "M":
        return ""
    if category[0] == "N":
        digit = unicodedata.digit(c, None)
        return c if digit is None else str(digit)
    if category[0] not in "LS":
        return c
    base = unicodedata.normalize("NFD", c)[0]
    if base.isascii():
        return base
    name = _LATIN_NAME.fullmatch(unicodedata.name(c, ""))
    if not name:
        return c
    return name[1] if category in ("Lu", "So") else name[1].lower()


def _power(match: re.Match[str]) -> str:
    before, _ = _around(match)
    digits = match[0].translate(_SUPERSCRIPTS)
    if not before.isalnum() and before != ")" or match[0] == "¹":
        return f" {digits}"
    return f" {_POWERS[match[0]]} " if match[0] in _POWERS else f" to the power of {digits.replace('-', 'minus ')} "


def _square_unit(match: re.Match[str]) -> str:
    dimension = "square" if match[2] == "²" else "cubic"
    return f" {dimension} {_LENGTHS[match[1]]}s"


def _micro_unit(match: re.Match[str]) -> str:
    """match[1]: "1" and a space, or None after any other number."""
    one, unit = (match[1] or "").strip(), _MICRO[match[2]]
    return f"{one} micro{_unit_name(unit, one or '2')}"


def _unit_name(unit: str, number: str) -> str:
    """Singular or plural."""
    if number == "1" or unit == "molar":
        return unit
    return f"{unit[:-1]}ies" if unit.endswith("y") else f"{unit}s"


def _greek_letter(match: re.Match[str]) -> str:
    """The name of a single letter, which is a sign; before a Latin letter, μ is micro. Several letters are Greek."""
    text = match[0]
    name = _GREEK_NAME.match(unicodedata.name(text[0], "")) if len(text) == 1 else None
    if name is None:
        return text
    before, after = _around(match)
    if text == "μ" and (after.isalpha() or _MICRO_AFTER.search(match.string, max(match.start() - 2, 0), match.start())):
        return " micro "
    spoken = "lambda" if name[1] == "LAMDA" else name[1].lower()
    return f"{' ' if before.isalnum() else ''}{spoken}{' ' if after.isalnum() else ''}"


def _around(match: re.Match[str]) -> tuple[str, str]:
    """The characters before and after the match; empty at the ends of the text."""
    start, end = match.span()
    return match.string[max(start - 1, 0) : start], match.string[end : end + 1]


_UNIT_SIGNS = {"㎟": "mm²", "㎠": "cm²", "㎡": "m²", "㎢": "km²", "㎣": "mm³", "㎤": "cm³", "㎥": "m³", "㎦": "km³"}
_ENGLISH_SIGNS = str.maketrans(
    {
        **{sign: f" {words} " for sign, words in _SIGNS.items()},
        **dict.fromkeys(_APOSTROPHES, "'"),
        **_QUOTES,
        **dict.fromkeys(_SILENT_SIGNS, ""),
        **_UNIT_SIGNS,
        "−": "-",  # noqa: RUF001
        "ẞ": "SS",
    }
)
_AFTER_NFKC = str.maketrans({**dict.fromkeys(_APOSTROPHES, "'"), **_QUOTES, "⁄": "/", "−": "-"})  # noqa: RUF001
