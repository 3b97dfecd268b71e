"""What the `speakers` of `POST /projects` accept: whose face each voice moves."""

from typing import Any

from rest_framework import serializers

MAX_SPEAKERS = 2
MAX_INDEX = 1000  # Of a face; an image has fewer.


class ShareField(serializers.FloatField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_value=1, **kwargs)
        self.error_messages["max_value"] = "Must be a share of the image, from 0 to 1, not pixels."


class BoxRequest(serializers.Serializer[Any]):
    """A part of the image, in shares of its width and height, as `GET /assets/{id}` shows faces."""

    x = ShareField(min_value=0)
    y = ShareField(min_value=0)
    width = ShareField()
    height = ShareField()

    def validate(self, box: dict[str, float]) -> dict[str, float]:
        for size, start in (("width", "x"), ("height", "y")):
            if box[size] <= 0:
                raise serializers.ValidationError({size: ["Ensure this value is greater than 0."]}, code="invalid")
            if box[start] + box[size] > 1 + 1e-3:  # Faces are shown with four digits.
                detail = f"{start} {box[start]:g} and {size} {box[size]:g} reach beyond the image, which ends at 1."
                raise serializers.ValidationError({size: [detail]}, code="invalid")
        return box


class FaceRequest(serializers.Serializer[Any]):
    """Give a box or an index."""

    box = BoxRequest(required=False, help_text="The widest face whose middle is in it.")
    index = serializers.IntegerField(
        min_value=0, max_value=MAX_INDEX, required=False, help_text="Of the faces from left to right, from 0 on."
    )

    def validate(self, face: dict[str, Any]) -> dict[str, Any]:
        if len(face) != 1:
            detail = (
                'Give a box or an index: {"box": {"x", "y", "width", "height"}}, shares of the image, or {"index"}.'
            )
            raise serializers.ValidationError(detail, code="invalid")
        return face


class SpeakerRequest(serializers.Serializer[Any]):
    audio = serializers.IntegerField(
        min_value=1, max_value=2, help_text="1: the voice of `audio_url` or `script`; 2: that of `audio_url_2`."
    )
    face = FaceRequest()


class SpeakersField(serializers.ListField):
    child = SpeakerRequest()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_SPEAKERS, **kwargs)

    def to_internal_value(self, data: Any) -> Any:
        # Before the members are checked: the answer would list each of ten thousand faults.
        if isinstance(data, list) and len(data) > MAX_SPEAKERS:
            raise serializers.ValidationError(f"At most {MAX_SPEAKERS} entries.", code="max_length")
        return super().to_internal_value(data)

    def require_voices(self, speakers: list[dict[str, Any]] | None, num_voices: int) -> None:
        """Raises ValidationError unless there is one speaker for each voice, or none at all."""
        audios = sorted(speaker["audio"] for speaker in speakers or [])
        if audios and audios != list(range(1, num_voices + 1)):
            needed = "one entry with audio 1 is" if num_voices == 1 else "two entries with audio 1 and 2 are"
            given = ", ".join(map(str, audios))
            voices = "1 voice" if num_voices == 1 else f"{num_voices} voices"
            detail = f"The request has {voices}, so {needed} needed; given: audio {given}."
            raise serializers.ValidationError({"speakers": [detail]}, code="invalid")


def unknown_names(speakers: Any) -> list[str]:
    """The members of valid `speakers` that there are not, such as `speakers.0.face.foo`."""
    unknown = []
    for number, speaker in enumerate(speakers or []):
        face = speaker["face"]
        parts = [("", speaker, SpeakerRequest()), ("face.", face, FaceRequest())]
        if "box" in face:
            parts.append(("face.box.", face["box"], BoxRequest()))
        for prefix, given, serializer in parts:
            unknown += [f"speakers.{number}.{prefix}{name}" for name in given if name not in serializer.fields]
    return unknown
