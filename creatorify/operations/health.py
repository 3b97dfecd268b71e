"""`/healthz`, for load balancers and containers: does this process respond, and does it reach the database?"""

import logging
from collections.abc import Callable

from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.database_errors import DATABASE_UNAVAILABLE
from creatorify.middleware.request_id import HEALTH

logger = logging.getLogger(__name__)


class HealthMiddleware:
    """Responds before Django checks the request's host and scheme.

    A container asks 127.0.0.1, and a load balancer asks this machine's address, both without TLS and without the name
    of the service. The response contains nothing secret.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return _health(request) if request.path == HEALTH else self.get_response(request)


@never_cache
@require_safe
def _health(request: HttpRequest) -> JsonResponse:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DATABASE_UNAVAILABLE:
        logger.exception("The health check cannot reach the database")
        return JsonResponse({"status": "unavailable"}, status=503)
    return JsonResponse({"status": "ok"})
