"""SSML's `say-as`: a text written out, so that every speech engine reads it in the way that was asked for.

Only W3C's common kinds; each function raises ValueError, whose text says what is wanted.
"""

import calendar
import re
from collections.abc import Callable

_NAMES = {  # of signs that are spelled; another one is left to the engine
    **{".": "dot", "-": "dash", "_": "underscore", "/": "slash", "\\": "backslash", "@": "at", "&": "and"},
    **{"#": "hash", "+": "plus", "*": "star", "=": "equals", ":": "colon", ",": "comma", "'": "apostrophe"},
}
_DATE_FORMATS = ("mdy", "dmy", "ymd", "md", "dm", "my", "ym", "y")


def _characters(text: str, _: str | None) -> str:
    """With full stops, as in initials: without them an A is read as the article."""
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
    """With commas: without them 1999 is read as a year."""
    found = re.fullmatch(r"([+-]?)([0-9]{1,30}|[0-9]{1,3}(?:,[0-9]{3}){1,9})(\.[0-9]{1,30})?", text)
    if not found:
        raise ValueError("a number such as 1234 or -12.5")
    sign, whole, rest = found.groups(default="")
    words = {"-": "minus ", "+": "plus "}.get(sign, "")
    return f"{words}{int(whole.replace(',', '')):,}{rest}"


def _ordinal(text: str, _: str | None) -> str:
    found = re.fullmatch("([0-9]{1,18})(?:st|nd|rd|th)?", text.replace(",", ""), re.IGNORECASE)
    if not found:
        raise ValueError("a whole number such as 3")
    return ordinal(int(found[1]))


def ordinal(number: int) -> str:
    """As English writes it: 1st, 12th."""
    teen = 11 <= number % 100 <= 13
    return f"{number:,}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _date(text: str, form: str | None) -> str:
    numbers = re.split(r"[\s./-]+", text.strip())
    if form is None and re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text.strip()):
        form = "ymd"
    wanted = f"a date, with a format of {', '.join(_DATE_FORMATS)}"
    if (
        form not in _DATE_FORMATS
        or len(numbers) != len(form)
        or not all(re.fullmatch("[0-9]{1,4}", n) for n in numbers)
    ):
        raise ValueError(wanted)
    parts = dict(zip(form, map(int, numbers), strict=True))
    month, day, year = parts.get("m"), parts.get("d"), parts.get("y")
    if (month is not None and not 1 <= month <= 12) or (day is not None and not 1 <= day <= 31):
        raise ValueError(wanted)
    words = [calendar.month_name[month]] if month is not None else []
    words += [ordinal(day)] if day is not None else []
    said = " ".join(words)
    return said if year is None else f"{said}{',' if day is not None else ''} {year}".strip()


_EVERYWHERE: dict[str, Callable[[str, str | None], str]] = {
    "characters": _characters,
    "spell-out": _characters,
    "digits": _digits,
    "telephone": _telephone,
    "cardinal": _cardinal,
}
_IN_ENGLISH = {**_EVERYWHERE, "ordinal": _ordinal, "date": _date}


def kinds(*, english: bool) -> dict[str, Callable[[str, str | None], str]]:
    """Value of `interpret-as` -> what writes a text out, given it and the value of `format`."""
    return _IN_ENGLISH if english else _EVERYWHERE
