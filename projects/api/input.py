"""What `POST /projects` accepts. Optional fields may be null, as clients of the older service send them."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from rest_framework import serializers
from rest_framework.settings import api_settings

from accounts.api.fields import ChoiceField
from accounts.api.names import RULE, is_name
from projects.api.deadline_field import DeadlineField
from projects.api.parameters_input import ParametersRequest, unused_parameters
from projects.api.speakers_input import SpeakersField, unknown_names
from projects.assets.source_urls import MAX_LENGTH, validate_source_url
from projects.models import AudioOrder
from projects.webhooks.fields import webhook_url_field
from render.pipeline import test_scenarios
from render.speech.registry import Script, choose, left_out
from render.speech.ssml import has_tags, is_ssml

MAX_METADATA = 20
MAX_SCRIPT = 50_000  # Characters: about an hour of speech.
MAX_WARNINGS = 20
MAX_NAME = 100
NO_VOICE = "A voice is needed: give audio_url, or else a script, which is then spoken."
NAME_RULE = f"Names may have {MAX_NAME} characters at most, {RULE}."


class SourceUrlField(serializers.CharField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_LENGTH, validators=[validate_source_url], **kwargs)


class MetadataField(serializers.DictField):
    child = serializers.CharField(max_length=500, allow_blank=True, trim_whitespace=False)

    def to_internal_value(self, data: Any) -> Any:
        # Before the members are checked: the answer would list each of ten thousand faults.
        if isinstance(data, dict) and len(data) > MAX_METADATA:
            raise serializers.ValidationError(f"At most {MAX_METADATA} keys.", code="max_length")
        values = super().to_internal_value(data)
        if not all(map(_is_name, values)):
            raise serializers.ValidationError(NAME_RULE, code="invalid")
        return values


class ProjectRequest(serializers.Serializer[Any]):
    """A portrait (or a video to dub) and a voice; with a second voice, two people talk."""

    title = serializers.CharField(max_length=200)
    image_url = SourceUrlField(help_text="A portrait (JPEG, PNG, WebP, AVIF, HEIC, GIF, BMP, TIFF), or a video to dub.")
    audio_url = SourceUrlField(
        required=False, allow_null=True, allow_blank=True, help_text="The voice; or else give a `script`."
    )
    script = serializers.CharField(
        max_length=MAX_SCRIPT,
        required=False,
        allow_null=True,
        allow_blank=True,
        help_text="The text to be spoken; the speech is kept as an asset. A text that begins with `<speak` is SSML: "
        "`speak`, `p`, `s`, `break` (10 s at most), `sub` and `say-as` are understood, and anything else is refused.",
    )
    voice = serializers.CharField(
        max_length=60, required=False, allow_null=True, help_text="Of `GET /voices`, for the script."
    )
    language = serializers.RegexField(
        r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$",
        max_length=35,  # RFC 5646, 4.4.1
        required=False,
        allow_null=True,
        help_text="Of the script (BCP 47). Default: the voice's.",
        error_messages={"invalid": "Must be a language tag (BCP 47), such as en or pt-BR."},
    )
    audio_url_2 = SourceUrlField(
        required=False,
        allow_null=True,
        allow_blank=True,
        help_text="The second voice. Without `speakers` it moves the right person, and `audio_url` the left one.",
    )
    audio_order = ChoiceField(
        choices=AudioOrder.choices,
        required=False,
        allow_null=True,
        help_text=(
            "With two voices, which begins: `left_right`, `audio_url` (the default); `right_left`, `audio_url_2`; "
            "`meanwhile`, both at once."
        ),
    )
    speakers = SpeakersField(
        required=False,
        allow_null=True,
        help_text="Whose face each voice moves; every other face keeps still. Default: the widest faces, and of two "
        "voices the first moves the left one.",
    )
    start_deadline_seconds = DeadlineField("has not begun to render")
    total_deadline_seconds = DeadlineField("is not finished")
    description = serializers.CharField(
        max_length=5000, required=False, allow_null=True, allow_blank=True, trim_whitespace=False
    )
    prompt = serializers.CharField(
        max_length=2000, required=False, allow_null=True, allow_blank=True, trim_whitespace=False
    )
    user_id = serializers.CharField(
        max_length=200,
        required=False,
        allow_null=True,
        allow_blank=True,
        help_text="Your label for your own user. Default: anonymous.",
    )
    metadata = MetadataField(
        required=False,
        allow_null=True,
        help_text=f"Yours, echoed: up to {MAX_METADATA} strings of up to 500 characters; a number becomes a string.",
    )
    webhook_url = webhook_url_field(
        required=False,
        allow_null=True,
        allow_blank=True,
        help_text="https; receives a POST when this project has ended, as a webhook endpoint does.",
    )
    parameters = ParametersRequest(required=False, allow_null=True)
    test_scenario = ChoiceField(
        choices=test_scenarios.NAMES,
        required=False,
        allow_null=True,
        help_text="With a test key: how the render is to fail.",
    )

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Return the fields of a Project. Nulls are left out, and unknown names become warnings."""
        script = data.get("script") if isinstance(data, Mapping) else None
        if not (script.strip() if isinstance(script, str) else script):
            voice = self.fields["audio_url"]
            voice.required, voice.allow_null, voice.allow_blank = True, False, False  # type: ignore[attr-defined]
            voice.error_messages |= dict.fromkeys(("required", "null", "blank"), NO_VOICE)
        values: dict[str, Any] = _without_nulls(super().to_internal_value(data))
        parameters = data.get("parameters") or {}
        known = self.fields["parameters"].fields  # type: ignore[attr-defined]
        unknown = [name for name in data if name not in self.fields]
        unknown += [f"parameters.{name}" for name in parameters if name not in known]
        unknown += unknown_names(data.get("speakers"))
        if not all(map(_is_name, unknown)):
            raise serializers.ValidationError({api_settings.NON_FIELD_ERRORS_KEY: [NAME_RULE]}, code="invalid")
        values["warnings"] = [
            {
                "param": name,
                "code": "unknown",
                "detail": f"There is no field {name}; it was not used.{_hint(name, known)}",
            }
            for name in unknown[:MAX_WARNINGS]
        ]
        values["parameters"] = _without_nulls(values.get("parameters", {}))
        values["warnings"] += unused_parameters(values["parameters"])
        values["warnings"] += _unused_fields(values)
        spoken = {name: values.pop(name, None) for name in ("script", "voice", "language")}
        values["audio_url"] = values.get("audio_url", "")
        self.fields["speakers"].require_voices(  # type: ignore[attr-defined]
            values.get("speakers"), 2 if values.get("audio_url_2") else 1
        )
        if spoken["script"] and values["audio_url"]:
            raise serializers.ValidationError({"script": ["Give a script or an audio_url, not both."]}, code="invalid")
        if spoken["script"]:
            values["script"] = choose(spoken["script"], voice=spoken["voice"], language=spoken["language"])
            values["warnings"] += _warnings_of(values["script"])
        return values

    def validate_audio_url_2(self, value: str | None) -> str | None:
        return value or None

    def validate_user_id(self, value: str | None) -> str | None:
        return value or None


def _hint(name: str, parameters: Iterable[str]) -> str:
    """What the customer may have meant by a name that there is not."""
    known = [*ProjectRequest._declared_fields, *(f"parameters.{parameter}" for parameter in parameters)]
    nested = f"parameters.{name}"
    likely = [nested] if nested in known else get_close_matches(name, known, n=1, cutoff=0.8)
    return f" Did you mean {likely[0]}?" if likely else ""


def _unused_fields(values: Mapping[str, Any]) -> list[dict[str, str]]:
    """Warnings about fields that have no effect because of others."""
    reasons = {}
    if "audio_order" in values and not values.get("audio_url_2"):
        reasons["audio_order"] = "It was not used: there is no audio_url_2."
    if not values.get("script"):
        given = [name for name in ("voice", "language") if values.get(name)]
        reasons |= dict.fromkeys(given, "It was not used: there is no script.")
    return [{"param": name, "code": "unused", "detail": detail} for name, detail in reasons.items()]


def _warnings_of(script: Script) -> list[dict[str, str]]:
    warnings = []
    if skipped := left_out(script):
        shown = " ".join(skipped[:MAX_WARNINGS]) + (" ..." if len(skipped) > MAX_WARNINGS else "")
        detail = f"The voice {script['voice']} cannot speak these characters; they are left out: {shown}"
        warnings.append({"param": "script", "code": "characters_skipped", "detail": detail})
    if not is_ssml(script["text"]) and has_tags(script["text"]):
        detail = "The script does not begin with <speak>, so it is plain text: its tags are read aloud."
        warnings.append({"param": "script", "code": "tags_read_aloud", "detail": detail})
    return warnings


def _without_nulls(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _is_name(name: str) -> bool:
    return is_name(name) and len(name) <= MAX_NAME
