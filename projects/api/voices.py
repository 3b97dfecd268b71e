"""GET /api/v1/voices: the voices that can speak a script."""

from typing import Any

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import Scope
from render.speech import registry
from render.speech.base import Voice


class VoiceSerializer(serializers.Serializer[Voice]):
    id = serializers.CharField(help_text="What to give as `voice` of a project.")
    name = serializers.CharField()
    language = serializers.CharField(help_text="BCP 47.")


class VoicesView(APIView):
    action = "voices"
    required_scopes = {"voices": Scope.PROJECTS_READ}

    @extend_schema(
        operation_id="v1_voices_list",
        tags=["voices"],
        summary="List the voices for scripts",
        responses=inline_serializer("Voices", {"data": VoiceSerializer(many=True)}),
    )
    def get(self, request: Request) -> Response:
        """The first voice of a language speaks it when a project names none."""
        voices: list[dict[str, Any]] = [dict(VoiceSerializer(voice).data) for voice in registry.voices().values()]
        return Response({"data": voices})
