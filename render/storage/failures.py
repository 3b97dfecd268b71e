"""What can go wrong with a media storage, whichever it is, and whether another try may help."""

from collections.abc import Callable
from enum import Enum
from functools import wraps
from typing import ParamSpec, TypeVar

import tenacity
from django.conf import settings

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Reason(Enum):
    """The values are stable words, which error messages and logs contain."""

    UNAVAILABLE = "unavailable"
    LIMITED = "rate_limited"
    CREDENTIALS = "wrong_credentials"
    FULL = "account_full"
    TOO_LARGE = "file_too_large"
    REFUSED = "refused"

    @property
    def passes_at_once(self) -> bool:
        """Whether another try within seconds may succeed."""
        return self in (Reason.UNAVAILABLE, Reason.LIMITED)

    @property
    def passes_later(self) -> bool:
        """Whether a try within a day may succeed, because the fault passes or the operator repairs it."""
        return self.passes_at_once or self in (Reason.CREDENTIALS, Reason.FULL)


class StorageFailure(OSError):
    """A media storage did not do what was asked of it. The text is for staff: it may contain addresses."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(f"{reason.value}: {text}")
        self.reason = reason


def retried(call: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Repeat a call that raises StorageFailure, if the reason passes at once; with exponential backoff and jitter."""

    @wraps(call)
    def call_with_retries(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_passes_at_once),
            stop=tenacity.stop_after_attempt(settings.STORAGE_ATTEMPTS),
            wait=tenacity.wait_random_exponential(multiplier=settings.STORAGE_BACKOFF_SECONDS, max=30),
            reraise=True,
        )
        return retrying(call, *args, **kwargs)

    return call_with_retries


def _passes_at_once(error: BaseException) -> bool:
    return isinstance(error, StorageFailure) and error.reason.passes_at_once
