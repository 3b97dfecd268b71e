"""Months and other periods of whole days, in UTC."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

YEARS = range(2000, 3000)  # Far enough from the limits of `datetime` to add a month or a time zone.
MONTH_PATTERN = r"[0-9]{4}-(?:0[1-9]|1[0-2])"  # YYYY-MM


@dataclass(frozen=True)
class Period:
    start: date
    end: date  # the day after the last one

    @classmethod
    def month(cls, day: date) -> "Period":
        """The whole month that contains this day."""
        first = day.replace(day=1)
        return cls(first, next_month(first))

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        """Midnight (UTC) of `start` and of `end`."""
        start, end = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in (self.start, self.end))
        return start, end


def parse_month(text: str) -> date:
    """Return the first day of a month written as YYYY-MM. Raises ValueError for other text and outside YEARS."""
    if not re.fullmatch(MONTH_PATTERN, text) or int(text[:4]) not in YEARS:
        raise ValueError(f"Not a month from {YEARS.start}-01 to {YEARS.stop - 1}-12: {text[:20]}")
    return date(int(text[:4]), int(text[5:]), 1)


def month_of(moment: datetime) -> date:
    """Return the first day of the month (UTC) of an aware datetime."""
    return moment.astimezone(UTC).date().replace(day=1)


def next_month(first: date) -> date:
    """Return the first day of the month after the one that begins on `first`."""
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)
