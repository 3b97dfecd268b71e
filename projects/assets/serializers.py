"""What the endpoints of uploads and assets accept and answer."""

from typing import Any
from urllib.parse import urljoin

from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.api.names import RULE, is_name
from accounts.errors import PROBLEM_TYPES, problem
from projects.assets.source_urls import ASSET
from projects.assets.upload_types import announced_type
from projects.models import Asset
from projects.presentation.serializers import ProblemField
from render.frame.boxes import Box
from render.frame.speakers import left_to_right
from render.storage import media

STATES = Asset.State.choices
NO_MEDIA = (
    "This is the type of a web page, or not a type. Give the type of an image, a video or audio, such as image/jpeg,"
    " video/mp4 or audio/wav, or leave it out: the content decides."
)
WAITING_FOR = ["file", "check", "storage"]


class UploadRequest(serializers.Serializer[Any]):
    filename = serializers.CharField(max_length=200)
    content_type = serializers.CharField(
        max_length=255,
        required=False,
        allow_blank=True,
        allow_null=True,
        trim_whitespace=False,
        help_text="As your browser states it, such as image/jpeg or `audio/webm;codecs=opus`, or nothing. The file's"
        " content decides what it is. Send it with the type in `headers`.",
    )
    bytes = serializers.IntegerField(
        min_value=1,
        max_value=2**40,
        help_text="The size of the file, exactly.",
        error_messages={"min_value": "A file has 1 byte or more."},
    )
    sha256 = serializers.RegexField(
        r"^[0-9a-f]{64}$",
        required=False,
        help_text="Of the file, in hex. A file that you have sent before is then found, and not sent again.",
        error_messages={"invalid": "Must be 64 hexadecimal digits, in lower case."},
    )

    def to_internal_value(self, data: Any) -> Any:
        values = super().to_internal_value(data)
        if not is_name(values["filename"]):
            raise serializers.ValidationError({"filename": [f"A file name may have {RULE}."]}, code="invalid")
        stated = values.get("content_type") or ""
        content_type = announced_type(stated, values["filename"]) if is_name(stated) else None
        if content_type is None:
            raise serializers.ValidationError({"content_type": [NO_MEDIA]}, code="invalid")
        return {**values, "content_type": content_type}


class AssetSerializer(serializers.ModelSerializer[Asset]):
    reference = serializers.SerializerMethodField(help_text="What to give as `image_url` or `audio_url`.")
    bytes = serializers.IntegerField(source="num_bytes")
    state = serializers.SerializerMethodField()
    waiting_for = serializers.SerializerMethodField(
        help_text="While it is `waiting`: for its `file`, for its `check`, or for the media `storage`, which is away."
    )
    error = serializers.SerializerMethodField()
    url = serializers.SerializerMethodField(help_text="The file, once it is ready. The link expires.")
    kind = serializers.SerializerMethodField()
    sha256 = serializers.SerializerMethodField()
    duration_seconds = serializers.FloatField(source="facts.duration_seconds", default=None, allow_null=True)
    width = serializers.IntegerField(source="facts.width", default=None, allow_null=True)
    height = serializers.IntegerField(source="facts.height", default=None, allow_null=True)
    faces = serializers.SerializerMethodField(
        help_text="Boxes as shares of the upright image: x, y, width, height; from left to right. Of a video: those of "
        "the first searched frame in which a face looks at the camera, or else the first with any face (first 2.4 "
        "seconds, two frames a second)."
    )

    class Meta:
        model = Asset
        fields = [
            "id",
            "reference",
            "state",
            "waiting_for",
            "kind",
            "origin",
            "filename",
            "content_type",
            "bytes",
            "sha256",
            "url",
            "duration_seconds",
            "width",
            "height",
            "faces",
            "error",
            "created_at",
            "uploaded_at",
            "expires_at",
        ]

    def get_reference(self, asset: Asset) -> str:
        return f"{ASSET}{asset.pk}"

    @extend_schema_field(
        serializers.ListField(child=serializers.DictField(child=serializers.FloatField()), allow_null=True)
    )
    def get_faces(self, asset: Asset) -> list[dict[str, float]] | None:
        faces = asset.facts.get("faces")
        return None if faces is None else [face.as_json() for face in left_to_right(list(map(Box.from_json, faces)))]

    @extend_schema_field(serializers.ChoiceField(choices=STATES))
    def get_state(self, asset: Asset) -> str:
        is_late = asset.expires_at is not None and asset.expires_at < timezone.now() and asset.uploaded_at is None
        return Asset.State.EXPIRED if is_late and asset.state == Asset.State.WAITING else asset.state

    @extend_schema_field(serializers.ChoiceField(choices=WAITING_FOR, allow_null=True))
    def get_waiting_for(self, asset: Asset) -> str | None:
        if self.get_state(asset) != Asset.State.WAITING:
            return None
        if asset.uploaded_at is None:
            return "file"
        return "storage" if asset.storage_failures else "check"

    @extend_schema_field(serializers.ChoiceField(choices=Asset.Kind.choices, allow_null=True))
    def get_kind(self, asset: Asset) -> str | None:
        return asset.kind or None

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_sha256(self, asset: Asset) -> str | None:
        return asset.sha256 or None

    @extend_schema_field(ProblemField(allow_null=True))
    def get_error(self, asset: Asset) -> dict[str, Any] | None:
        if not asset.error_code:
            return None
        return problem(asset.error_code if asset.error_code in PROBLEM_TYPES else "internal", asset.error_message)

    @extend_schema_field(serializers.URLField(allow_null=True))
    def get_url(self, asset: Asset) -> str | None:
        if asset.state != Asset.State.READY:
            return None
        return urljoin(f"{self.context['base_url']}/", media.link(asset.key))


class UploadSerializer(serializers.Serializer[dict[str, Any]]):
    """The request by which the file is sent; its members are null when the file need not be sent."""

    upload_id = serializers.UUIDField(source="asset.id")
    method = serializers.ChoiceField(choices=["PUT", "POST"], allow_null=True)
    url = serializers.URLField(allow_null=True)
    headers = serializers.DictField(child=serializers.CharField(), allow_null=True)
    fields = serializers.DictField(  # type: ignore[assignment]
        child=serializers.CharField(),
        allow_null=True,
        help_text="With POST: of a multipart form, whose last part, `file`, is the file. With PUT the body is it.",
    )
    expires_at = serializers.DateTimeField(allow_null=True)
    asset = AssetSerializer()
