"""What can go wrong with a media storage, whichever it is, and how often it is worth another try."""

from collections.abc import Callable
from enum import Enum
from functools import wraps
from typing import ParamSpec, TypeVar

import tenacity
from django.conf import settings

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Reason(Enum):
    """Its stable word; whether it may pass within seconds; whether it may pass, or be mended, within a day."""

    UNAVAILABLE = "unavailable", True, True
    LIMITED = "rate_limited", True, True
    CREDENTIALS = "wrong_credentials", False, True
    FULL = "account_full", False, True
    TOO_LARGE = "file_too_large", False, False
    REFUSED = "refused", False, False

    def __init__(self, word: str, at_once: bool, later: bool) -> None:
        self.word = word
        self.passes_at_once = at_once
        self.passes_later = later


class StorageFailure(OSError):
    """The storage did not do what it was asked. Its text is for staff: it may hold addresses."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(f"{reason.word}: {text}")
        self.reason = reason


def retried(call: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Call again, with exponential backoff and jitter, after a StorageFailure that may pass at once."""

    @wraps(call)
    def patient(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda e: isinstance(e, StorageFailure) and e.reason.passes_at_once),
            stop=tenacity.stop_after_attempt(settings.STORAGE_ATTEMPTS),
            wait=tenacity.wait_random_exponential(multiplier=settings.STORAGE_BACKOFF_SECONDS, max=30),
            reraise=True,
        )
        return attempts(call, *args, **kwargs)

    return patient
