"""The JSON of a project, of its status, and of lists of projects."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from projects.models import MAX_TAKES, AudioOrder, Take
from projects.presentation.projects import SHOWN_TAKES, STATUSES, TYPES, ProjectPresentation, TakePresentation
from render.estimates.completion import WaitingReason
from render.models import Phase, State


class TakeSerializer(serializers.Serializer[TakePresentation]):
    number = serializers.IntegerField(source="take.number")
    kind = serializers.ChoiceField(source="take.kind", choices=Take.Kind.choices)
    engine = serializers.CharField(source="take.render.engine")
    state = serializers.ChoiceField(source="take.render.state", choices=State.choices)
    progress = serializers.IntegerField(source="take.render.progress", min_value=0, max_value=100)
    video_url = serializers.URLField(allow_null=True)
    poster_url = serializers.URLField(allow_null=True)
    duration_seconds = serializers.FloatField(source="take.render.duration_seconds", allow_null=True)
    created_at = serializers.DateTimeField(source="take.created_at")


class WarningSerializer(serializers.Serializer[dict[str, str]]):
    param = serializers.CharField(help_text="The field that the warning is about.")
    code = serializers.CharField(
        help_text="`unknown`: there is no such field. `test_key_renders_drafts`: another engine was requested. "
        "`characters_skipped`: the voice cannot speak some characters of the script, and leaves them out. "
        "`tags_read_aloud`: the script has tags of SSML, and does not begin with `<speak`. "
        "`deadline_unlikely`: by the estimate, the render will miss this deadline. "
        "`damaged`: up to a second or 2 % of a file, whichever is less, cannot be read. "
        "`cropped`: a part of the image is not shown. `face_small`: the lips have few pixels. "
        "`others_keep_still`: only the chosen face moves. `no_person`: the background was kept. "
        "`not_stored`: the storage did not take the transparent video. "
        "`long_from_one_picture`: a final video of more than a minute from one image. "
        "`voice_cut`: with `length: video`, the end of the voice is not heard. "
        "`guidance_with_distilled`: guidance that does not fit the model. "
        "`unused`: a parameter has no effect. What depends on a file is found while the render is prepared, and at "
        "once if the file is an asset."
    )
    detail = serializers.CharField(default="", help_text="What was found, and what was done about it.")


class UrlsSerializer(serializers.Serializer[dict[str, str]]):
    """Links, so that a client need not build them."""

    self = serializers.URLField()
    status = serializers.URLField()
    events = serializers.URLField()
    cancel = serializers.URLField()
    retry = serializers.URLField()
    finalize = serializers.URLField()


PROBLEM = {"$ref": "#/components/schemas/Problem"}  # For a status that few operations answer.


@extend_schema_field({"$ref": "#/components/schemas/ProblemOfRender"})
class ProblemField(serializers.DictField):
    """The same members as in an error response."""


class StatusSerializer(serializers.Serializer[ProjectPresentation]):
    """The progress of a project's latest take."""

    id = serializers.UUIDField(source="project.id")
    status = serializers.ChoiceField(
        choices=STATUSES, help_text="Poll until `finished` or `failed`; a canceled project counts as failed."
    )
    state = serializers.ChoiceField(source="render.state", choices=State.choices, help_text="As `status`, but exact.")
    phase = serializers.ChoiceField(
        choices=Phase.choices, allow_null=True, help_text="What is being done, or comes next."
    )
    progress = serializers.IntegerField(source="render.progress", min_value=0, max_value=100)
    segment = serializers.IntegerField(allow_null=True, help_text="Number of segments that are ready.")
    segments_total = serializers.IntegerField(source="render.segments_total", allow_null=True)
    queue_position = serializers.IntegerField(
        source="estimate.queue_position", allow_null=True, help_text="1: the next one; null unless it is queued."
    )
    waiting_reason = serializers.ChoiceField(
        source="estimate.waiting_reason",
        choices=[reason.value for reason in WaitingReason],
        allow_null=True,
        help_text="Why it is still queued.",
    )
    eta_seconds = serializers.IntegerField(
        source="estimate.eta_seconds", allow_null=True, help_text="Estimated seconds to the end; null if not known."
    )
    video_url = serializers.URLField(
        source="latest.video_url", allow_null=True, help_text="The mp4, once finished. The link expires."
    )
    preview_url = serializers.URLField(
        source="latest.preview_url",
        allow_null=True,
        help_text="An HLS playlist that needs no key, from the first segment on: watch the video while it renders.",
    )
    error_message = serializers.CharField(allow_null=True, help_text="`error.detail`.")
    error_code = serializers.CharField(allow_null=True, help_text="`error.code`.")
    error = ProblemField(allow_null=True)
    poll_after_seconds = serializers.IntegerField(
        source="estimate.poll_after_seconds", allow_null=True, help_text="When to poll again; null: no more."
    )


class FrameFields(serializers.Serializer[Any]):
    """What a frame of the video shows: of an object with such a `frame` as `Render` has, or an empty one."""

    width = serializers.IntegerField(
        source="frame.width",
        default=None,
        allow_null=True,
        help_text="Of the video, in pixels. Null until the image is known: of an asset at once, of a URL once the "
        "render is prepared.",
    )
    height = serializers.IntegerField(source="frame.height", default=None, allow_null=True)
    crop = serializers.DictField(
        source="frame.crop",
        default=None,
        allow_null=True,
        child=serializers.FloatField(),
        help_text="The part of the image that is shown, as shares of it: x, y, width, height. Null: all of it, or not "
        "known yet.",
    )


class ProjectSerializer(StatusSerializer, FrameFields):
    """What was requested, and how far its latest take is."""

    user_id = serializers.CharField(source="project.user_id")
    title = serializers.CharField(source="project.title")
    description = serializers.CharField(source="project.description", allow_null=True)
    image_url = serializers.CharField(source="project.image_url")
    audio_url = serializers.CharField(
        allow_null=True, help_text="With a script: null until it is spoken, then the asset of the speech."
    )
    script = serializers.CharField(source="project.script.text", default=None, allow_null=True)
    voice = serializers.CharField(source="project.script.voice", default=None, allow_null=True)
    language = serializers.CharField(source="project.script.language", default=None, allow_null=True)
    audio_url_2 = serializers.CharField(source="project.audio_url_2", allow_null=True)
    audio_order = serializers.ChoiceField(source="project.audio_order", choices=AudioOrder.choices)
    speakers = serializers.ListField(source="project.speakers", child=serializers.DictField(), help_text="As given.")
    start_deadline_seconds = serializers.IntegerField(
        source="project.start_deadline_seconds", allow_null=True, help_text="Counted anew for each take."
    )
    total_deadline_seconds = serializers.IntegerField(
        source="project.total_deadline_seconds", allow_null=True, help_text="Counted anew for each take."
    )
    type = serializers.ChoiceField(choices=TYPES)
    prompt = serializers.CharField(source="project.prompt", allow_null=True)
    parameters = serializers.DictField(source="project.parameters", help_text="As given, with the seed that was drawn.")
    metadata = serializers.DictField(source="project.metadata", child=serializers.CharField())
    webhook_url = serializers.CharField(read_only=True, allow_null=True)
    test = serializers.BooleanField(source="project.is_test", help_text="Made with a test key.")
    warnings = WarningSerializer(many=True)
    call_id = serializers.CharField(source="render.id", help_text="Changes with each take; opaque.")
    engine = serializers.CharField(source="render.engine")
    video_alpha_url = serializers.URLField(
        source="latest.video_alpha_url",
        allow_null=True,
        help_text="With `background: transparent`: a WebM (VP9) of the person alone, with alpha and sound.",
    )
    poster_url = serializers.URLField(source="latest.poster_url", allow_null=True)
    thumbnail_url = serializers.URLField(
        source="latest.thumbnail_url", allow_null=True, help_text="A small poster, where the media storage makes one."
    )
    duration_seconds = serializers.FloatField(source="render.duration_seconds", allow_null=True)
    video_expires_at = serializers.DateTimeField(
        allow_null=True, help_text="When the video and its poster are deleted, by your plan; the project stays."
    )
    takes = TakeSerializer(
        many=True,
        help_text=f"The newest {SHOWN_TAKES}, oldest first; the other keys are those of the last one.",
    )
    takes_total = serializers.IntegerField(help_text=f"Also those that are not shown; {MAX_TAKES} at most.")
    urls = UrlsSerializer()
    created_at = serializers.DateTimeField(source="project.created_at")
    updated_at = serializers.DateTimeField(source="project.updated_at")


class EnvelopeSerializer(serializers.Serializer[Any]):
    """A list of projects, as requested with `envelope=true`."""

    data = ProjectSerializer(many=True)  # type: ignore[assignment]
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(allow_null=True, help_text="The `cursor` of the next page.")
