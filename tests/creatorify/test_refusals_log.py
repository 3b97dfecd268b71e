"""Requests that are refused before Django is asked are logged, but cannot fill the log."""

import time

import pytest

from creatorify import request_id


@pytest.fixture
def second(monkeypatch):
    """Sets the second that the monotonic clock shows."""
    monkeypatch.setattr(request_id, "_second", 0)
    monkeypatch.setattr(request_id, "_lines", 0)
    return lambda number: monkeypatch.setattr(request_id.time, "monotonic", lambda: float(number))


def refuse(times: int) -> None:
    for number in range(times):
        request_id.log_answer(f"req_{number}", "PUT", "/api/v1/uploads/x/content", 404, began=time.perf_counter())


def test_so_many_a_second_are_logged_and_the_others_counted(second, caplog) -> None:
    second(1)
    refuse(request_id.LINES_PER_SECOND + 5)
    assert caplog.text.count("PUT /api/v1/uploads/x/content 404") == request_id.LINES_PER_SECOND

    second(2)
    refuse(1)
    assert "5 more requests were refused in a second" in caplog.text
    assert caplog.text.count("PUT /api/v1/uploads/x/content 404") == request_id.LINES_PER_SECOND + 1


def test_a_few_are_all_logged(second, caplog) -> None:
    for number in (1, 2, 3):
        second(number)
        refuse(3)

    assert caplog.text.count(" 404 ") == 9 and "more requests" not in caplog.text
