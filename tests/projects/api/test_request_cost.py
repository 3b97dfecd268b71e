"""The most statements that Postgres may receive for a request, and for a recorded segment. See `make request-cost`."""

import pytest

from tests.request_cost.subjects import costs

MOST_STATEMENTS = {"POST /projects": 12, "GET /projects/{id}/status": 4, "a recorded segment": 6}


@pytest.mark.django_db(transaction=True)
def test_no_more_statements_than_these(settings) -> None:
    settings.ESTIMATE_SECONDS = 3600.0  # One snapshot of the queues serves all requests of a second.

    for name, cost in costs():
        assert len(cost.statements) <= MOST_STATEMENTS[name], "\n".join([name, *cost.statements])
