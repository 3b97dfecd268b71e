import re

import pytest
from openapi_spec_validator import validate

from accounts.errors import PROBLEM_TYPES
from creatorify.api import schema_view

OPERATIONS = {
    ("/api/v1/projects", "get"): "200",
    ("/api/v1/projects", "post"): "201",
    ("/api/v1/projects/{id}", "get"): "200",
    ("/api/v1/projects/{id}", "delete"): "200",
    ("/api/v1/projects/{id}/status", "get"): "200",
    ("/api/v1/projects/{id}/cancel", "post"): "202",
    ("/api/v1/projects/{id}/finalize", "post"): "202",
}


@pytest.fixture
def schema(client):
    return client.get("/api/schema/", headers={"Accept": "application/json"}).json()


def test_the_schema_is_valid_openapi_31(schema, capsys):
    validate(schema)

    assert schema["openapi"].startswith("3.1")


def test_it_is_made_without_a_warning(client, capsys):
    schema_view._schema.cache_clear()
    schema_view.rendered.cache_clear()

    client.get("/api/schema/")

    assert capsys.readouterr().err == ""


def test_it_has_every_operation_with_its_problems_and_its_keys(schema):
    for (path, method), status in OPERATIONS.items():
        operation = schema["paths"][path][method]
        assert {status, "401", "403", "422", "500"} <= operation["responses"].keys()
        assert ("404" in operation["responses"]) == ("{id}" in path)
        assert ("304" in operation["responses"]) == (method == "get")
        assert operation["security"] == [{"ApiKey": []}, {"Bearer": []}]
        assert operation["summary"]


def test_every_operation_has_a_summary_and_the_page_leads_on(schema):
    lacking = [
        (path, method)
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
        if not operation.get("summary")
    ]

    assert lacking == []
    assert "(/api/docs/errors)" in schema["info"]["description"]
    assert "To begin, " in schema["info"]["description"]


def test_the_errors_are_told_in_the_order_of_their_status(client):
    page = client.get("/api/docs/errors").content.decode()

    told = [int(status) for status in re.findall(r"<td>(\d{3})</td>", page)]
    assert len(told) == len(PROBLEM_TYPES) and told == sorted(told)


def test_the_icon_that_browsers_ask_for_is_there(client):
    redirect = client.get("/favicon.ico")

    assert client.get(redirect["Location"]).status_code == 200


def test_a_preview_needs_no_key(schema):
    operation = schema["paths"]["/api/v1/previews/{signed_id}/film.m3u8"]["get"]

    assert "security" not in operation
    assert {"200", "404"} <= operation["responses"].keys()
    assert not {"401", "403"} & operation["responses"].keys()
    assert operation["responses"]["200"]["content"].keys() == {"application/vnd.apple.mpegurl"}


def test_it_knows_both_ways_to_send_a_key(schema):
    schemes = schema["components"]["securitySchemes"]

    assert (schemes["ApiKey"]["name"], schemes["Bearer"]["scheme"]) == ("X-API-Key", "bearer")


def test_every_parameter_is_explained(schema):
    parameters = schema["components"]["schemas"]["ParametersRequest"]["properties"]

    assert parameters["sample_steps"]["maximum"] == 50
    assert all("description" in parameter for parameter in parameters.values())


@pytest.mark.parametrize("path", ["/api/docs", "/api/docs/", "/api/redoc", "/api/redoc/", "/api/docs/errors/"])
def test_the_pages_are_there_and_load_nothing_from_elsewhere(client, path):
    response = client.get(path)

    assert response.status_code == 200
    assert b'src="http' not in response.content
    assert b'link href="http' not in response.content
