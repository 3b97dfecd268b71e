"""A limit of lines for what strangers can cause: to be refused costs them nothing, and must not fill the disk."""

import logging
import threading
from collections import Counter
from time import monotonic

LINES_PER_SECOND = 20  # of each level


class LineLimit(logging.Filter):
    """Lets so many records a second pass, and counts the others. One whose `is_known` is true always passes."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._second = 0  # by the monotonic clock
        self._lines: Counter[int] = Counter()  # of that second, by level

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
