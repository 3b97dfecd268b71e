"""Write CSV (RFC 4180) whose cells no spreadsheet runs as a formula. All CSV of the service is written here.

Cells hold text of customers and staff. Spreadsheets run a cell that begins with one of `FORMULA`, even behind spaces,
line breaks or invisible characters, and even in full-width form; an apostrophe in front prevents it. Where a semicolon
separates columns, they also split quoted cells at semicolons, so each part is checked.
"""

import csv
import re
import unicodedata
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

FORMULA = set("=+-@|%")
INVISIBLE = {"Cc", "Cf", "Mn", "Me", "Zl", "Zp", "Zs"}  # Unicode categories of characters that spreadsheets skip
SEPARATOR = re.compile("([;\t\r\n\v\f\x85\u2028\u2029])")


def lines(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """Yield the lines one by one, so that a file of any length needs little memory. Numbers stay unquoted."""
    writer = csv.writer(_Line(), quoting=csv.QUOTE_NONNUMERIC)
    yield writer.writerow(header)
    for row in rows:
        yield writer.writerow([_cell(value) for value in row])


def _cell(value: Any) -> Any:
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return value
    parts = SEPARATOR.split("" if value is None else str(value))  # Every second part is a separator.
    text = "".join(f"'{part}" if _is_formula(part) else part for part in parts)
    # The whole cell, too: its first part may be invisible.
    if not text.startswith("'") and (SEPARATOR.match(text) or _is_formula("".join(parts))):
        return f"'{text}"
    return text


def _is_formula(text: str) -> bool:
    for character in text:
        if unicodedata.category(character) not in INVISIBLE:
            return unicodedata.normalize("NFKC", character)[0] in FORMULA
    return False


class _Line:
    """A file for `csv.writer` that keeps nothing: `writerow` returns what `write` returns, the line."""

    def write(self, line: str) -> str:
        return line
