"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): the same request twice has the effect of one.

What was answered is stored in the transaction that did it, so there is no state in between: either both are there, or
the request can simply be made again.
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

from accounts.billing import quota
from accounts.errors import ServiceError
from accounts.models import ApiKey, IdempotentResponse

WELL_FORMED = re.compile(r"[A-Za-z0-9._:~-]{1,255}")
KEPT = timedelta(days=7)
KEYS_OF_A_RENDER = 10  # For each that the plan allows in a month so many may be kept.
REPLAYED = "Idempotency-Replayed"
KEPT_HEADERS = ("Location",)

View = Callable[..., Response]


def idempotent(
    *, secrets: tuple[str, ...] = (), shown_anew: Callable[[Any], Any] | None = None
) -> Callable[[View], View]:
    """For a method of a view. secrets: members of the answer that are shown once only: a replay has null for them.

    shown_anew: makes the body of a replay, given the view. Of the answer itself only the id is kept then: for requests
    that may be made again and again, and are answered with much that is kept elsewhere.

    Only success is remembered: what was refused has changed nothing, and may be asked for again. The view raises
    ServiceError `invalid_idempotency_key`, `idempotency_key_reused`, `idempotency_in_progress` or
    `too_many_idempotency_keys`.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def answer(self: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
            key = _key_of(request)
            if key is None:
                return view(self, request, *args, **kwargs)
            assert isinstance(request.auth, ApiKey)
            route = f"{request.method} {request.resolver_match.route}"  # type: ignore[union-attr]
            fingerprint = _fingerprint(request, kwargs)
            with transaction.atomic():
                _lock(f"{request.auth.tenant_id} {route} {key}")
                known = IdempotentResponse.objects.filter(
                    tenant=request.auth.tenant, route=route, key=key, created_at__gt=Now() - KEPT
                ).first()
                if known is not None:
                    _require_same(known, fingerprint)
                    return _replay(known, shown_anew(self) if shown_anew else known.body)
                _require_room(request.auth)
                response = view(self, request, *args, **kwargs)
                body = json.loads(JSONRenderer().render(response.data))
                kept = {"id": body["id"]} if shown_anew else {**body, **dict.fromkeys(secrets)}
                _remember(request.auth, route, key, fingerprint, response, kept)
            return response

        return answer

    return decorate


def _key_of(request: Request) -> str | None:
    given = request.headers.get("Idempotency-Key")
    if given is None:
        return None
    # The draft has a structured string, in quotes; most clients send it bare.
    key = given[1:-1] if len(given) > 1 and given[0] == given[-1] == '"' else given
    if not WELL_FORMED.fullmatch(key):
        raise ServiceError(
            "invalid_idempotency_key", "An Idempotency-Key has 1 to 255 letters, digits or any of . _ : ~ -"
        )
    return key


def _fingerprint(request: Request, kwargs: dict[str, Any]) -> str:
    assert isinstance(request.auth, ApiKey)
    asked = [request.data, request.query_params, kwargs, request.auth.mode]
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()


def _lock(name: str) -> None:
    """Until the end of the transaction. Whoever comes second does not wait, but is told to come again."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [number])
        if not cursor.fetchone()[0]:
            raise ServiceError("idempotency_in_progress", "The first request with this key is still at work.")


def _require_same(known: IdempotentResponse, fingerprint: str) -> None:
    if known.fingerprint != fingerprint:
        raise ServiceError("idempotency_key_reused", "This key was used for another request.")


def _require_room(api_key: ApiKey) -> None:
    most = KEYS_OF_A_RENDER * quota.max_renders(api_key.tenant.plan, is_test=False)
    if api_key.is_test:
        most //= 2  # The other half is there for live keys, whatever test keys do.
    # Old ones, too, until they are deleted: so the index of the tenant is all that is read.
    if IdempotentResponse.objects.filter(tenant=api_key.tenant)[:most].count() >= most:
        detail = f"{most} Idempotency-Keys were used in the last {KEPT.days} days, and no more can be kept."
        raise ServiceError("too_many_idempotency_keys", f"{detail} Requests without a key are still taken.")


def _replay(known: IdempotentResponse, body: Any) -> Response:
    return Response(body, status=known.status, headers={**known.headers, REPLAYED: "true"})


def _remember(
    api_key: ApiKey, route: str, key: str, fingerprint: str, response: Response, body: dict[str, Any]
) -> None:
    answered = IdempotentResponse(
        tenant=api_key.tenant,
        route=route,
        key=key,
        fingerprint=fingerprint,
        status=response.status_code,
        headers={name: response[name] for name in KEPT_HEADERS if name in response},
        body=body,
    )
    # What an earlier answer with this key said is over, if it is there still.
    IdempotentResponse.objects.bulk_create(
        [answered],
        update_conflicts=True,
        unique_fields=["tenant", "route", "key"],
        update_fields=["fingerprint", "status", "headers", "body", "created_at"],
    )
