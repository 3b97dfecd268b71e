"""The base class of all API views.

A view whose `get_queryset` reads `api_key` also sets `queryset = Model.objects.none()`. The API document is made
without a request and takes the model from there; no request ever sees this empty queryset.
"""

from django.conf import settings
from rest_framework.views import APIView

from accounts.api.parsers import BoundedJSONParser
from accounts.models import ApiKey


# Without a docstring: the API document would show it at each endpoint.
class KeyedView(APIView):
    parser_classes = [BoundedJSONParser]

    @property
    def api_key(self) -> ApiKey:
        """The key of the request, with its tenant and plan."""
        key = self.request.auth
        assert isinstance(key, ApiKey)  # HasScope has refused requests without a key.
        return key

    @property
    def base_url(self) -> str:
        """Scheme and host of the links in responses, without a slash at the end."""
        address: str = settings.PUBLIC_URL or self.request.build_absolute_uri("/").rstrip("/")
        return address
