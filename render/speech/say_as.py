"""SSML's `say-as`: texts written out, so that every speech engine reads them as requested.

Only the W3C's common kinds. Each function raises ValueError, with a message that tells what the text must be.
"""

import calendar
import re
from collections.abc import Callable

_NAMES = {  # of signs; all others are left to the engine
    ".": "dot",
    "-": "dash",
    "_": "underscore",
    "/": "slash",
    "\\": "backslash",
    "@": "at",
    "&": "and",
    "#": "hash",
    "+": "plus",
    "*": "star",
    "=": "equals",
    ":": "colon",
    ",": "comma",
    "'": "apostrophe",
}
_DATE_FORMATS = ("mdy", "dmy", "ymd", "md", "dm", "my", "ym", "y")


def _characters(text: str, _: str | None) -> str:
    """With full stops, as in initials: without one, an A is read as the article."""
    return " ".join(f"{c.upper()}." if c.isalpha() else _NAMES.get(c, c) for c in text if not c.isspace())


def _digits(text: str, _: str | None) -> str:
    digits = re.sub(r"[\s.,-]", "", text)
    if not re.fullmatch("[0-9]+", digits):
        raise ValueError("digits")
    return " ".join(digits)


def _telephone(text: str, _: str | None) -> str:
    groups = re.findall("[0-9]+", text)
    if not groups or not re.fullmatch(r"[0-9+().\-/\s]+", text):
        raise ValueError("a telephone number of digits, spaces and the signs + ( ) - . /")
    return ("plus " if text.lstrip().startswith("+") else "") + ", ".join(" ".join(group) for group in groups)


def _cardinal(text: str, _: str | None) -> str:
    """With commas: without one, 1999 is read as a year."""
    match = re.fullmatch(r"([+-]?)([0-9]{1,30}|[0-9]{1,3}(?:,[0-9]{3}){1,9})(\.[0-9]{1,30})?", text)
    if not match:
        raise ValueError("a number such as 1234 or -12.5")
    sign, whole, rest = match.groups(default="")
    words = {"-": "minus ", "+": "plus "}.get(sign, "")
    return f"{words}{int(whole.replace(',', '')):,}{rest}"


def _ordinal(text: str, _: str | None) -> str:
    match = re.fullmatch("([0-9]{1,18})(?:st|nd|rd|th)?", text.replace(",", ""), re.IGNORECASE)
    if not match:
        raise ValueError("a whole number such as 3")
    return ordinal(int(match[1]))


def ordinal(number: int) -> str:
    """In English: 1st, 12th."""
    is_teen = 11 <= number % 100 <= 13
    suffix = "th" if is_teen else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{suffix}"


def _date(text: str, form: str | None) -> str:
    numbers = re.split(r"[\s./-]+", text.strip())
    if form is None and re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text.strip()):
        form = "ymd"
    required = f"a date, with a format of {', '.join(_DATE_FORMATS)}"
    if (
        form not in _DATE_FORMATS
        or len(numbers) != len(form)
        or not all(re.fullmatch("[0-9]{1,4}", n) for n in numbers)
    ):
        raise ValueError(required)
    parts = dict(zip(form, map(int, numbers), strict=True))
    month, day, year = parts.get("m"), parts.get("d"), parts.get("y")
    if (month is not None and not 1 <= month <= 12) or (day is not None and not 1 <= day <= 31):
        raise ValueError(required)
    words = [calendar.month_name[month]] if month is not None else []
    words += [ordinal(day)] if day is not None else []
    spoken = " ".join(words)
    return spoken if year is None else f"{spoken}{',' if day is not None else ''} {year}".strip()


_IN_ALL_LANGUAGES: dict[str, Callable[[str, str | None], str]] = {
    "characters": _characters,
    "spell-out": _characters,
    "digits": _digits,
    "telephone": _telephone,
    "cardinal": _cardinal,
}
_IN_ENGLISH = {**_IN_ALL_LANGUAGES, "ordinal": _ordinal, "date": _date}


def kinds(*, english: bool) -> dict[str, Callable[[str, str | None], str]]:
    """Value of `interpret-as` -> function that takes a text and the value of `format`, and returns it written out."""
    return _IN_ENGLISH if english else _IN_ALL_LANGUAGES
