import pytest
from django.db import InterfaceError, OperationalError

from creatorify.operations import health


def test_it_is_well_while_the_database_answers(client, db):
    response = client.get("/healthz")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert "no-store" in response["Cache-Control"]


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
def test_it_is_not_well_without_the_database(client, db, monkeypatch, error):
    class NoServer:
        def cursor(self):
            raise error("no server")

    monkeypatch.setattr(health, "connection", NoServer())

    assert client.get("/healthz").status_code == 503
