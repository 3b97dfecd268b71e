"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a repeated request has the effect of one.

The response is stored in the same transaction as the effects of the request. So either both were saved, or neither, and
then the request can be repeated safely.
"""

import hashlib
import json
import re
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any

from django.db import connection, transaction
from django.db.models.functions import Now
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.errors import ServiceError
from accounts.models import ApiKey, IdempotentResponse

WELL_FORMED = re.compile(r"[A-Za-z0-9._:~-]{1,255}")
KEPT = timedelta(days=7)
KEYS_PER_RENDER = 10  # Keys that may be stored for each render that the plan allows in a month.
REPLAYED = "Idempotency-Replayed"
KEPT_HEADERS = ("Location",)

View = Callable[..., Response]


def idempotent(
    *, secrets: tuple[str, ...] = (), current_body: Callable[[Any], Any] | None = None
) -> Callable[[View], View]:
    """Decorate a method of a view.

    secrets: members of the response that are shown once only. They are not stored; a replay has null for them.
    current_body: makes the body of a replay from the view. Then only the id of the response is stored. For requests
    that may be repeated often and have long responses.

    Only successful responses are stored: a refused request has changed nothing and may be repeated. The view raises
    ServiceError `invalid_idempotency_key`, `idempotency_key_reused`, `idempotency_in_progress` or
    `too_many_idempotency_keys`.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def respond(self: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
            key = _key_of(request)
            if key is None:
                return view(self, request, *args, **kwargs)
            assert isinstance(request.auth, ApiKey)
            route = f"{request.method} {request.resolver_match.route}"  # type: ignore[union-attr]
            fingerprint = _fingerprint(request, kwargs)
            with transaction.atomic():
                _lock(f"{request.auth.tenant_id} {route} {key}")
                stored = IdempotentResponse.objects.filter(
                    tenant=request.auth.tenant, route=route, key=key, created_at__gt=Now() - KEPT
                ).first()
                if stored is not None:
                    _require_same_request(stored, fingerprint)
                    return _replay(stored, current_body(self) if current_body else stored.body)
                _require_room(request.auth)
                response = view(self, request, *args, **kwargs)
                body = json.loads(JSONRenderer().render(response.data))
                body = {"id": body["id"]} if current_body else {**body, **dict.fromkeys(secrets)}
                _store(request.auth, route, key, fingerprint, response, body)
            return response

        return respond

    return decorate


def _key_of(request: Request) -> str | None:
    header = request.headers.get("Idempotency-Key")
    if header is None:
        return None
    # The draft requires quotes around the key; most clients send it without them.
    key = header[1:-1] if len(header) > 1 and header[0] == header[-1] == '"' else header
    if not WELL_FORMED.fullmatch(key):
        raise ServiceError(
            "invalid_idempotency_key", "An Idempotency-Key has 1 to 255 characters: letters, digits and . _ : ~ -"
        )
    return key


def _fingerprint(request: Request, kwargs: dict[str, Any]) -> str:
    assert isinstance(request.auth, ApiKey)
    content = [request.data, request.query_params, kwargs, request.auth.mode]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def _lock(name: str) -> None:
    """Lock the name until the transaction ends. A second request does not wait: it gets `idempotency_in_progress`."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
        if not cursor.fetchone()[0]:
            raise ServiceError(
                "idempotency_in_progress", "The first request with this Idempotency-Key is still in progress."
            )


def _require_same_request(stored: IdempotentResponse, fingerprint: str) -> None:
    if stored.fingerprint != fingerprint:
        raise ServiceError("idempotency_key_reused", "This Idempotency-Key was used for a different request.")


def _require_room(api_key: ApiKey) -> None:
    limit = KEYS_PER_RENDER * api_key.tenant.plan.max_renders
    if api_key.is_test:
        limit //= 2  # Test keys can never use up the half that is left for live keys.
    # Rows older than KEPT count until they are deleted: so the query needs only the index on the tenant.
    if IdempotentResponse.objects.filter(tenant=api_key.tenant)[:limit].count() >= limit:
        detail = f"{limit} Idempotency-Keys were used in the last {KEPT.days} days; no more can be stored."
        raise ServiceError("too_many_idempotency_keys", f"{detail} Requests without one are still accepted.")


def _replay(stored: IdempotentResponse, body: Any) -> Response:
    return Response(body, status=stored.status, headers={**stored.headers, REPLAYED: "true"})


def _store(api_key: ApiKey, route: str, key: str, fingerprint: str, response: Response, body: dict[str, Any]) -> None:
    row = IdempotentResponse(
        tenant=api_key.tenant,
        route=route,
        key=key,
        fingerprint=fingerprint,
        status=response.status_code,
        headers={name: response[name] for name in KEPT_HEADERS if name in response},
        body=body,
    )
    # Replaces an expired row with the same key that was not deleted yet.
    IdempotentResponse.objects.bulk_create(
        [row],
        update_conflicts=True,
        unique_fields=["tenant", "route", "key"],
        update_fields=["fingerprint", "status", "headers", "body", "created_at"],
    )
