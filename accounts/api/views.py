"""What the views of the API share: whose key asks, a bounded JSON body, and what links in answers begin with."""

from django.conf import settings
from rest_framework.views import APIView

from accounts.api.parsers import BoundedJSONParser
from accounts.models import ApiKey


class KeyedView(APIView):
    parser_classes = [BoundedJSONParser]

    @property
    def api_key(self) -> ApiKey:
        key = self.request.auth
        assert isinstance(key, ApiKey)  # The permission has seen to it.
        return key

    @property
    def base_url(self) -> str:
        address: str = settings.PUBLIC_URL or self.request.build_absolute_uri("/").rstrip("/")
        return address
