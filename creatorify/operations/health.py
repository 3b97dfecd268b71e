"""For load balancers, containers and the operator: does this process answer, and does it reach the database?"""

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
    """Answers before Django looks at the request's host and scheme: who asks for it knows an address and no name.

    A container asks at 127.0.0.1 and a load balancer at this machine's address, both without TLS. The answer says
    nothing that they must not know.
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
