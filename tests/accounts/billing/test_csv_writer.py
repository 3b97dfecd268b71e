"""No cell of a CSV is run by a spreadsheet, wherever it splits the line; numbers stay numbers."""

import csv
import io
from decimal import Decimal

import pytest

from accounts.billing.csv_writer import lines


def write(*cells: object) -> str:
    return "".join(lines(["a"] * len(cells), [cells])).split("\r\n", 1)[1]


def read(text: str, delimiter: str = ",") -> list[str]:
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


@pytest.mark.parametrize("trigger", list("=+-@|%\uff1d\uff0b\uff0d\uff20\ufe66\ufe62"))
@pytest.mark.parametrize(
    "before", ["", " ", "\n", "\r\n", "\t", "\u00a0", "\u200b", "\ufeff", "\u2060", "\u200d \n", "\0", "\x0b", "\u2028"]
)
def test_what_begins_a_formula_is_text(trigger, before) -> None:
    text = f"{before}{trigger}cmd|'/C calc'!A0"
    [cell] = read(write(text))

    assert cell.replace("'", "") == text.replace("'", "")
    assert cell.lstrip("\n\r\t\v\u2028 ").startswith("'")


@pytest.mark.parametrize("separator", [";", "\t", "\n", "\r", "\r\n"])
@pytest.mark.parametrize("behind", ["=cmd", " =cmd", "\u200b=cmd", "\uff1dcmd", "@SUM(A1)", "+1", "-1", "=cmd;=cmd"])
def test_a_formula_behind_a_separator_of_other_countries_is_text(separator, behind) -> None:
    text = f"x{separator}{behind}"

    for delimiter in (",", ";", "\t"):
        # Quotes are no help where they do not stand at a cell's beginning.
        for row in csv.reader(write("first", text).splitlines(), delimiter=delimiter, quoting=csv.QUOTE_NONE):
            for cell in row:
                plain = cell.strip('" \u200b\u2028')
                assert not plain.startswith(("=", "+", "-", "@", "\uff1d")), (delimiter, cell)


def test_all_text_is_quoted_and_numbers_are_not() -> None:
    row = write("a", 1, -2, 0, Decimal("-0.5"), 1.5, None, True, 'say "x"', "2026-11-29T00:00:00Z")

    assert row == '"a",1,-2,0,-0.5,1.5,"","True","say ""x""","2026-11-29T00:00:00Z"\r\n'


@pytest.mark.parametrize("text", ["Ann", "ann@example.com", "a-b", "a;b", "50 %", "a = b", "\u00e4\u4f60", "x|y", ""])
def test_ordinary_text_stays_as_it_is(text) -> None:
    assert read(write(text, "x"))[0] == text
