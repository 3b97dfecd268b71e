"""When a download that failed is tried again, and how long it waits before."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import tenacity

from accounts.errors import ServiceError

CHECK_SECONDS = 0.2
MAX_TIMEOUTS = 2  # tries, because each took `read_seconds` or more


@dataclass(frozen=True)
class FetchLimits:
    max_bytes: int
    total_seconds: float  # from the first look-up of the name to the last byte, all redirects and tries included
    connect_seconds: float = 10
    read_seconds: float = 20  # the longest silence
    tries: int = 4
    backoff_seconds: float = 0.5  # before the second try; then twice as long each time
    longest_wait_seconds: float = 10  # before a try, whatever the server asks for
    most_waited_seconds: float = 20  # between all tries together


class TryFailed(Exception):
    """may_pass: another try may succeed. retry_after: seconds that the server asks to wait."""

    def __init__(self, error: ServiceError, *, may_pass: bool, retry_after: float = 0) -> None:
        super().__init__()
        self.error = error
        self.may_pass = may_pass
        self.retry_after = retry_after


class RetryPolicy:
    def __init__(self, limits: FetchLimits, check: Callable[[], None]) -> None:
        """check: called all the time while it waits; what it raises ends the wait."""
        self._limits = limits
        self._check = check

    def retrying(self) -> tenacity.Retrying:
        """Calls a function until it returns, or its TryFailed is final. Raises that TryFailed."""
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, TryFailed) and error.may_pass),
            wait=self._seconds_to_wait,
            stop=self._is_enough,
            sleep=lambda seconds: _sleep(self._check, seconds),
            reraise=True,
        )

    def _seconds_to_wait(self, state: tenacity.RetryCallState) -> float:
        backoff = self._limits.backoff_seconds * random.uniform(0.5, 1) * 2.0 ** (state.attempt_number - 1)
        return min(max(backoff, _failure(state).retry_after), self._limits.longest_wait_seconds)

    def _is_enough(self, state: tenacity.RetryCallState) -> bool:
        """A server that is away for long, or always asks to wait, does not hold a worker for long."""
        limits = self._limits
        is_timeout = _failure(state).error.code == "download_timeout"
        tries = min(limits.tries, MAX_TIMEOUTS) if is_timeout else limits.tries
        waited = state.idle_for + state.upcoming_sleep
        return (
            state.attempt_number >= tries
            or waited > limits.most_waited_seconds
            or (state.seconds_since_start or 0) + state.upcoming_sleep >= limits.total_seconds
        )


def _failure(state: tenacity.RetryCallState) -> TryFailed:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TryFailed), "no other exception is retried"
    return error


def _sleep(check: Callable[[], None], seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check()
        time.sleep(min(left, CHECK_SECONDS))
