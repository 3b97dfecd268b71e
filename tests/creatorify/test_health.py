from django.db import OperationalError

from creatorify.operations import health


def test_it_is_well_while_the_database_answers(client, db):
    response = client.get("/healthz")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert "no-store" in response["Cache-Control"]


def test_it_is_not_well_without_the_database(client, db, monkeypatch):
    class NoServer:
        def cursor(self):
            raise OperationalError("no server")

    monkeypatch.setattr(health, "connection", NoServer())

    assert client.get("/healthz").status_code == 503
