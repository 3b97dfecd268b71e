"""What the OpenAPI document has beyond the views: security, errors and short paths; and the page of all errors."""

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema

from accounts.errors import CONTENT_TYPE, PROBLEM_TYPES

REQUEST_PROBLEMS = {
    "400": "The request is malformed, or the cursor is invalid.",
    "401": "The API key is missing, wrong, expired or revoked.",
    "402": "The quota or the spend cap of this month is used up.",
    "403": "The key lacks the scope or asks for more than it may do itself, or the account is suspended.",
    "404": "There is no such object in this account.",
    "408": "The body came too slowly.",
    "409": "Not possible in the current state of the object.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "422": "A field is wrong: `param` names the first, `errors` lists all.",
    "429": "Too many requests, waiting renders or uploads; see `Retry-After` and `RateLimit`.",
    "500": "An error of the service; it was logged.",
    "503": "Temporarily unavailable; see `Retry-After`.",
}
# The statuses that only some methods can have.
ONLY_FOR_METHODS = {
    "402": ["post"],
    "409": ["post", "put", "delete"],
    "408": ["post", "put", "patch"],
    "413": ["post", "put", "patch"],
    "415": ["post", "patch"],
}
KEY_PROBLEMS = ["401", "403"]


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "accounts.api_keys.authentication.ApiKeyAuthentication"
    name = ["ApiKey", "Bearer"]

    def get_security_definition(self, auto_schema: AutoSchema) -> list[dict[str, Any]]:
        return [
            {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            {"type": "http", "scheme": "bearer", "description": "The same API key."},
        ]

    def get_security_requirement(self, auto_schema: AutoSchema) -> list[dict[str, list[Any]]]:
        return [{name: []} for name in self.name]  # one of the two


def complete(result: dict[str, Any], **_: object) -> dict[str, Any]:
    """Post-processing: paths without the optional slash, and the errors that every operation may respond with."""
    paths = {path.rstrip("/"): operations for path, operations in result["paths"].items()}
    for path, operations in paths.items():
        for method, operation in operations.items():
            for status in REQUEST_PROBLEMS:
                if _may_respond(status, path, method, needs_key="security" in operation):
                    operation["responses"].setdefault(status, {"$ref": f"#/components/responses/Problem{status}"})
            if method == "get":
                operation["responses"].setdefault("304", {"$ref": "#/components/responses/NotModified"})
    components = result["components"]
    components["responses"] = {
        "NotModified": {"description": "Unchanged since the ETag in `If-None-Match`."},
    } | {
        f"Problem{status}": {
            "description": description,
            "headers": {"Request-Id": {"schema": {"type": "string"}}},
            "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, description in REQUEST_PROBLEMS.items()
    }
    components["schemas"] |= _problem_schemas()
    return {**result, "paths": paths}


@require_safe
def errors(request: HttpRequest) -> HttpResponse:
    by_status = sorted(PROBLEM_TYPES.items(), key=lambda item: item[1].status)
    return render(request, "docs/errors.html", {"problem_types": by_status})


def _may_respond(status: str, path: str, method: str, *, needs_key: bool) -> bool:
    if status == "404":
        return "{" in path
    return method in ONLY_FOR_METHODS.get(status, [method]) and (needs_key or status not in KEY_PROBLEMS)


def _problem_schemas() -> dict[str, Any]:
    text = {"type": "string"}
    maybe_text = {"type": ["string", "null"]}
    problem = {
        "type": {**text, "format": "uri-reference", "description": "The explanation of the code."},
        "title": text,
        "status": {"type": "integer"},
        "detail": {**text, "description": "A text for people; may change."},
        "code": {**text, "enum": list(PROBLEM_TYPES), "description": "For programs; stable."},
        "param": {**maybe_text, "description": "The wrong field."},
        "retryable": {"type": "boolean", "description": "Whether the same request may succeed later."},
        "billed": {"type": "boolean"},
    }
    error = _object({"param": maybe_text, "code": text, "detail": text})
    of_request = {**problem, "request_id": text, "errors": {"type": "array", "items": error}}
    return {
        "Problem": {
            **_object(of_request, required=[*problem, "request_id"]),
            "description": "RFC 9457 problem details.",
        },
        "ProblemOfRender": {
            **_object(problem),
            "description": "Why the render failed.",
        },
    }


def _object(properties: dict[str, Any], *, required: Sequence[str] | None = None) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties if required is None else required)}
