"""The OpenAPI document is made once, in as many forms as there are, whatever is asked for."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml
from django.test import Client

from creatorify.api import schema_view

FORMS = ["application/vnd.oai.openapi", "application/yaml", "application/vnd.oai.openapi+json", "application/json"]


@pytest.fixture
def made(monkeypatch) -> list[str]:
    """Tells of each time that the document is made."""
    schema_view.rendered.cache_clear()
    schema_view._schema.cache_clear()
    times: list[str] = []
    make = schema_view.SchemaGenerator.get_schema
    monkeypatch.setattr(
        schema_view.SchemaGenerator, "get_schema", lambda self, **kwargs: times.append("made") or make(self, **kwargs)
    )
    return times


def test_whatever_is_asked_for_makes_it_once(made, client):
    for number in range(5):
        for form in FORMS:
            assert client.get("/api/schema", headers={"Accept": form}).status_code == 200
        for query in ("format=json", "format=yaml", f"lang=de&x={number}", f"version={number}", "lang=../../x"):
            assert client.get(f"/api/schema/?{query}").status_code == 200
        client.get(
            "/api/schema", headers={"Accept-Language": f"x-{number}", "Accept": f"application/json; indent={number}"}
        )

    assert made == ["made"]
    assert schema_view.rendered.cache_info().currsize == len(FORMS)


def test_those_who_ask_at_once_wait_for_one(made):
    def ask(_: int) -> bytes:
        return Client().get("/api/schema").content

    with ThreadPoolExecutor(8) as threads:
        answers = set(threads.map(ask, range(16)))

    assert made == ["made"]
    assert len(answers) == 1


def test_each_form_is_the_same_document(client):
    answers = {form: client.get("/api/schema", headers={"Accept": form}) for form in FORMS}

    documents = [
        json.loads(answer.content) if form.endswith("json") else yaml.safe_load(answer.content)
        for form, answer in answers.items()
    ]
    assert all(document == documents[0] for document in documents)
    for form, answer in answers.items():
        assert answer["Content-Type"].startswith(form)
        assert "Accept" in answer["Vary"]
        assert answer["Cache-Control"] == "public, max-age=300"
    assert len({answer["ETag"] for answer in answers.values()}) == 2


@pytest.mark.parametrize("form", FORMS)
def test_who_has_it_gets_304(client, form):
    known = client.get("/api/schema", headers={"Accept": form})

    again = client.get("/api/schema", headers={"Accept": form, "If-None-Match": known["ETag"]})

    assert (again.status_code, again.content, again["ETag"]) == (304, b"", known["ETag"])
    assert client.get("/api/schema", headers={"Accept": form, "If-None-Match": '"other"'}).status_code == 200


def test_the_pages_of_the_readers_do_not_make_it(made, client):
    for path in ("/api/docs/", "/api/docs/?script=", "/api/redoc/", "/api/docs/errors/"):
        assert client.get(path).status_code == 200

    assert made == []
