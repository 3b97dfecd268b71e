"""A project as the API shows it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from urllib.parse import urljoin

from django.db.models import Count, Prefetch, QuerySet
from django.urls import reverse
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.errors import PROBLEM_TYPES, problem
from projects.models import AudioOrder, Project, Take
from projects.previews import UNFINISHED, preview_path
from render import objects
from render.estimates import Estimate, WaitingReason, estimate
from render.models import Phase, Render, State

# The four words of the older service, whose clients poll until `finished` or `failed`.
STATUS_OF_STATE = {
    State.QUEUED: "queued",
    State.RUNNING: "processing",
    State.FINISHED: "finished",
    State.FAILED: "failed",
    State.CANCELED: "failed",
}
STATUSES = ["queued", "processing", "finished", "failed"]
TYPES = ["single_person", "multi_person"]


def with_takes(projects: QuerySet[Project], *, up_to: int | None = None) -> QuerySet[Project]:
    """What `represent` needs, in one more query however many projects there are. up_to: the last take to be shown."""
    takes = Take.objects.select_related("render").annotate(num_segments=Count("render__segments"))
    if up_to is not None:
        takes = takes.filter(number__lte=up_to)
    takes = takes.order_by("number")
    return projects.select_related("tenant__plan").prefetch_related(Prefetch("takes", queryset=takes))


@dataclass(frozen=True)
class TakeRepresentation:
    take: Take
    base_url: str

    @property
    def video_url(self) -> str | None:
        return self.take.imported_video_url or self._absolute(self.take.render.video_key)

    @property
    def poster_url(self) -> str | None:
        return self._absolute(self.take.render.poster_key)

    @property
    def thumbnail_url(self) -> str | None:
        return self._absolute(self.take.render.poster_key, objects.thumbnail_link)

    @property
    def num_segments(self) -> int:
        number: int = self.take.num_segments  # type: ignore[attr-defined]
        return number

    @property
    def preview_url(self) -> str | None:
        shown = self.num_segments and self.take.render.state not in UNFINISHED
        return self.base_url + preview_path(self.take.render_id) if shown else None

    def _absolute(self, key: str, link: Callable[[str], str] = objects.link) -> str | None:
        if not key or self.take.render.state != State.FINISHED:
            return None
        return urljoin(f"{self.base_url}/", link(key))


@dataclass(frozen=True)
class Representation:
    project: Project
    takes: list[TakeRepresentation]
    estimate: Estimate
    base_url: str

    @property
    def latest(self) -> TakeRepresentation:
        return self.takes[-1]

    @property
    def render(self) -> Render:
        return self.latest.take.render

    @property
    def type(self) -> str:
        return "multi_person" if self.project.audio_url_2 else "single_person"

    @property
    def audio_url(self) -> str | None:
        return self.project.audio_url or None

    @property
    def status(self) -> str:
        return STATUS_OF_STATE[State(self.render.state)]

    @property
    def phase(self) -> str | None:
        return None if self.render.is_terminal else self.render.phase

    @property
    def segment(self) -> int | None:
        if self.render.segments_total is None or self.render.state == State.FINISHED:
            return self.render.segments_total  # Its segments are deleted sooner than the film.
        return self.latest.num_segments

    @property
    def video_expires_at(self) -> datetime | None:
        if self.render.state != State.FINISHED or self.latest.take.imported_video_url:
            return None
        assert self.render.completed_at
        return self.render.completed_at + timedelta(days=self.project.tenant.plan.retention_days)

    @cached_property
    def error(self) -> dict[str, Any] | None:
        render = self.render
        if not render.error_code:
            return None
        # A row may be older than the list of codes.
        code = render.error_code if render.error_code in PROBLEM_TYPES else "internal"
        return problem(code, render.error_message, param=render.error_param or None)

    @property
    def error_code(self) -> str | None:
        return self.error["code"] if self.error else None

    @property
    def error_message(self) -> str | None:
        return self.error["detail"] if self.error else None

    @property
    def urls(self) -> dict[str, str]:
        names = {
            **{"self": "detail", "status": "status", "events": "events"},
            **{"cancel": "cancel", "retry": "retry", "finalize": "finalize"},
        }
        return {
            key: self.base_url + reverse(f"project-{name}", kwargs={"pk": self.project.pk})
            for key, name in names.items()
        }


def represent(projects: Iterable[Project], *, base_url: str) -> list[Representation]:
    """`projects` come from `with_takes`."""
    takes = {project.pk: [TakeRepresentation(take, base_url) for take in project.takes.all()] for project in projects}
    estimates = estimate([of_project[-1].take.render for of_project in takes.values()])
    return [
        Representation(project, of_project, estimates[of_project[-1].take.render.pk], base_url)
        for project in projects
        for of_project in [takes[project.pk]]
    ]


class TakeSerializer(serializers.Serializer[TakeRepresentation]):
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
    param = serializers.CharField(help_text="The field that was not used.")
    code = serializers.CharField(
        help_text="`unknown`: there is no such field. `test_key_renders_drafts`: another engine was asked for."
    )


class UrlsSerializer(serializers.Serializer[dict[str, str]]):
    """Links, so that a client need not build them."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        # One of them is called `self`.
        return {name: serializers.URLField() for name in ("self", "status", "events", "cancel", "retry", "finalize")}


@extend_schema_field({"$ref": "#/components/schemas/ProblemOfRender"})
class ProblemField(serializers.DictField):
    """The same members as in an error response."""


class StatusSerializer(serializers.Serializer[Representation]):
    """How far the latest take of a project is."""

    id = serializers.UUIDField(source="project.id")
    status = serializers.ChoiceField(
        choices=STATUSES, help_text="Poll until `finished` or `failed`; a canceled project counts as failed."
    )
    state = serializers.ChoiceField(source="render.state", choices=State.choices, help_text="As `status`, but exact.")
    phase = serializers.ChoiceField(choices=Phase.choices, allow_null=True, help_text="What is being done now.")
    progress = serializers.IntegerField(source="render.progress", min_value=0, max_value=100)
    segment = serializers.IntegerField(allow_null=True, help_text="Segments that are ready.")
    segments_total = serializers.IntegerField(source="render.segments_total", allow_null=True)
    queue_position = serializers.IntegerField(
        source="estimate.queue_position", allow_null=True, help_text="1 is the next one; null unless queued."
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
        help_text="An HLS playlist that needs no key, from the first segment on: watch the film while it renders.",
    )
    error_message = serializers.CharField(allow_null=True, help_text="`error.detail`.")
    error_code = serializers.CharField(allow_null=True, help_text="`error.code`.")
    error = ProblemField(allow_null=True)
    poll_after_seconds = serializers.IntegerField(
        source="estimate.poll_after_seconds", allow_null=True, help_text="When to ask again; null: no more."
    )


class ProjectSerializer(StatusSerializer):
    """What was asked for, and what has come of it in the latest take."""

    user_id = serializers.CharField(source="project.user_id")
    title = serializers.CharField(source="project.title")
    description = serializers.CharField(source="project.description", allow_null=True)
    image_url = serializers.CharField(source="project.image_url")
    audio_url = serializers.CharField(
        allow_null=True, help_text="Of a script: null until it is spoken, then the asset that it has become."
    )
    script = serializers.CharField(source="project.script.text", default=None, allow_null=True)
    voice = serializers.CharField(source="project.script.voice", default=None, allow_null=True)
    language = serializers.CharField(source="project.script.language", default=None, allow_null=True)
    audio_url_2 = serializers.CharField(source="project.audio_url_2", allow_null=True)
    audio_order = serializers.ChoiceField(source="project.audio_order", choices=AudioOrder.choices)
    type = serializers.ChoiceField(choices=TYPES)
    prompt = serializers.CharField(source="project.prompt", allow_null=True)
    parameters = serializers.DictField(source="project.parameters", help_text="As given, and the seed that was drawn.")
    metadata = serializers.DictField(source="project.metadata", child=serializers.CharField())
    test = serializers.BooleanField(source="project.is_test", help_text="Made with a test key.")
    warnings = WarningSerializer(source="project.warnings", many=True)
    call_id = serializers.CharField(source="render.id", help_text="Changes with each take; opaque.")
    engine = serializers.CharField(source="render.engine")
    poster_url = serializers.URLField(source="latest.poster_url", allow_null=True)
    thumbnail_url = serializers.URLField(
        source="latest.thumbnail_url", allow_null=True, help_text="A small poster, where the media storage makes one."
    )
    duration_seconds = serializers.FloatField(source="render.duration_seconds", allow_null=True)
    video_expires_at = serializers.DateTimeField(
        allow_null=True, help_text="When the film and its poster are deleted, by your plan; the project stays."
    )
    takes = TakeSerializer(many=True, help_text="Oldest first; the other keys tell of the last one.")
    urls = UrlsSerializer()
    created_at = serializers.DateTimeField(source="project.created_at")
    updated_at = serializers.DateTimeField(source="project.updated_at")
