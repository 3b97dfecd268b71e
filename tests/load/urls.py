"""The service's addresses, and a bare view of DRF that runs below the same middleware and in the same process."""

from django.urls import include, path
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


class BareView(APIView):
    authentication_classes = []
    permission_classes = [AllowAny]
    throttle_classes = []

    def get(self, request: Request) -> Response:
        return Response({"status": "processing"})

    def post(self, request: Request) -> Response:
        return Response({"title": request.data["title"]}, status=201)


urlpatterns = [path("bare", BareView.as_view()), path("", include("creatorify.urls"))]
