"""A limit of lines a second, for requests without a valid key: refused requests must not fill the disk."""

import logging
import threading
from collections import Counter
from time import monotonic

LINES_PER_SECOND = 20  # of each level


class LineLimit(logging.Filter):
    """Passes LINES_PER_SECOND records of each level and counts the others. Records with `is_known` always pass."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._second = 0  # of the monotonic clock
        self._lines: Counter[int] = Counter()  # in that second, by level

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "is_known", False):
            return True
        now, left_out = int(monotonic()), Counter[int]()
        with self._lock:
            if now != self._second:
                left_out = self._lines - Counter(dict.fromkeys(self._lines, LINES_PER_SECOND))
                self._second, self._lines = now, Counter()
            self._lines[record.levelno] += 1
            has_room = self._lines[record.levelno] <= LINES_PER_SECOND
        for level, number in left_out.items():
            text = "%d more lines like this one came within a second and were left out"
            logging.getLogger(record.name).log(level, text, number, extra={"is_known": True})
        return has_room
