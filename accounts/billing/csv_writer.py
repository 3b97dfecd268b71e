"""The only writer of CSV (RFC 4180). No cell of it is run by a spreadsheet, whatever a customer or staff has written.

Spreadsheets take a cell for a formula that begins with one of `FORMULA`, also behind spaces, line ends and characters
without a width, and in full width. Where the list separator is a semicolon, they split cells there, quoted or not.
"""

import csv
import re
import unicodedata
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

FORMULA = set("=+-@|%")
IGNORED = {"Cc", "Cf", "Mn", "Me", "Zl", "Zp", "Zs"}  # Categories of characters without a shape of their own.
SEPARATOR = re.compile("([;\t\r\n\v\f\x85\u2028\u2029])")


def lines(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """All text is quoted and harmless; numbers stay numbers."""
    writer = csv.writer(_Line(), quoting=csv.QUOTE_NONNUMERIC)
    yield writer.writerow(header)
    for row in rows:
        yield writer.writerow([_cell(value) for value in row])


def _cell(value: Any) -> Any:
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return value
    parts = SEPARATOR.split("" if value is None else str(value))  # Every second one is a separator.
    text = "".join(f"'{part}" if _is_formula(part) else part for part in parts)
    # Also before what comes first and has no shape.
    return f"'{text}" if not text.startswith("'") and (SEPARATOR.match(text) or _is_formula("".join(parts))) else text


def _is_formula(text: str) -> bool:
    for character in text:
        if unicodedata.category(character) not in IGNORED:
            return unicodedata.normalize("NFKC", character)[0] in FORMULA
    return False


class _Line:
    """A file whose `write` hands back what is written: the writer's `writerow` returns it."""

    def write(self, line: str) -> str:
        return line
