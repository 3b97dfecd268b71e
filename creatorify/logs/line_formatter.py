"""The format of log lines: a request can neither forge lines nor fill the log, and secrets are left out."""

import logging
import re

MAX_MESSAGE = 2000  # characters
MAX_TRACE = 8000  # characters of a traceback; its end is kept, where the error is
KEY = re.compile(r"(cf_(?:live|test)_[0-9A-Za-z]{8})_[0-9A-Za-z]+")  # The group, its prefix, is not secret.
SIGNED_PATH = re.compile(r"(/uploads/|/previews/)[^/\s?]+(?=/)")  # a token or signature
SIGNED_QUERY = re.compile(r"(?i)\b((?:x-amz-)?(?:signature|credential|security-token|token|api_key|secret)=)[^&\s'\"]+")
# Line ends of all kinds, and characters that control a terminal.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class LineFormatter(logging.Formatter):
    """One line a record; a traceback stands below it, indented, so that no line of it looks like a record's own."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        text = str(record.message)  # Kept, because other handlers get the same record.
        record.message = escaped(without_secrets(text[: 2 * MAX_MESSAGE]))[:MAX_MESSAGE]
        if len(text) > MAX_MESSAGE:
            record.message += f"... ({len(text)} characters)"
        line = super().formatMessage(record)
        record.message = text
        return line

    def formatException(self, ei: object) -> str:
        trace = without_secrets(super().formatException(ei))  # type: ignore[arg-type]
        if len(trace) > MAX_TRACE:
            trace = f"... ({len(trace)} characters)\n{trace[-MAX_TRACE:]}"
        return "\n".join(f"    {escaped(line)}" for line in trace.split("\n"))


def escaped(text: str) -> str:
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def without_secrets(text: str) -> str:
    text = KEY.sub(r"\1_...", text)
    return SIGNED_QUERY.sub(r"\1...", SIGNED_PATH.sub(r"\1...", text))
