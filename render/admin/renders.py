"""The pages of renders, for support staff. They only read, but for the action `cancel`."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join

from accounts.admin.base import (
    NOTHING,
    ReadOnlyAdmin,
    ReadOnlyInline,
    external_link,
    object_link,
    preformatted,
    without_queries,
)
from accounts.errors import ServiceError
from accounts.models import UsageEntry
from render.admin import media as media_admin
from render.admin.media import RESULTS, media_keys, media_link
from render.admin.request_fields import (
    audio_order_text,
    frame_text,
    plan_text,
    script_text,
    speakers_text,
    values_table,
)
from render.engines import registry
from render.lifecycle import transitions
from render.models import TERMINAL_STATES, Attempt, Render, Segment, State


def state_text(state: str | None, phase: str | None, progress: int | None) -> str:
    if state is None:
        return NOTHING
    return state if state in TERMINAL_STATES else f"{state}: {phase}, {progress} %"


def error_text(code: str | None, message: str | None) -> str:
    if not code:
        return NOTHING
    return format_html('<strong style="color: var(--error-fg)">{}</strong><br>{}', code, message)


class EngineFilter(admin.SimpleListFilter):
    """Offers the installed engines: to find those of the table's rows would read all of it."""

    title = parameter_name = "engine"
    field = "engine"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in registry.names()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{self.field: self.value()}) if self.value() else queryset


class QueueFilter(EngineFilter):
    title = parameter_name = field = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        queues = {transitions.COMMON_QUEUE, *map(registry.queue_of, registry.names())}
        return [(name, name) for name in sorted(queues)]


class AttemptInline(ReadOnlyInline):
    model = Attempt
    fields = ["number", "node", "outcome", "render_seconds", "started_at", "ended_at"]
    ordering = ["number"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Attempt]:
        attempts: QuerySet[Attempt] = super().get_queryset(request)
        return attempts.select_related("node")


class SegmentInline(ReadOnlyInline):
    model = Segment
    fields = ["index", "attempt", "frames", "num_bytes", "file", "created_at"]
    classes = ["collapse"]

    @admin.display
    def file(self, segment: Segment) -> str:
        return media_link(segment.render_id, f"segment-{segment.index}", segment.key, "Open")


@admin.register(Render)
class RenderAdmin(ReadOnlyAdmin):
    list_display = ["short_id", "tenant", "engine", "now", "error_code", "node", "created_at", "completed_at"]
    list_filter = ["created_at", "state", "phase", EngineFilter, QueueFilter, "error_code", "tenant"]
    list_select_related = ["tenant", "node"]
    search_fields = ["error_code", "error_message", "node__name"]
    id_lookups = ["pk", "tenant"]
    tenant_search = True
    ordering = ["-created_at"]
    inlines = [AttemptInline, SegmentInline]
    actions = ["cancel"]
    # fmt: off
    fieldsets = [
        (None, {"fields": ["id", "tenant", "engine", "queue"]}),
        ("Result", {"fields": [
            "state", "phase", "percent", "cancel_requested_at", "error", "error_param",
            "video", "transparent", "poster", "duration_seconds", "usage",
        ]}),
        ("Trace, for staff only", {"fields": ["trace"], "classes": ["collapse"]}),
        ("When and where", {"fields": [
            "created_at", "started_at", "begun_at", "completed_at", "not_before",
            "start_deadline_at", "total_deadline_at",
            "attempt", "node", "lease_until", "heartbeat_at", "crashes", "failures",
        ]}),
        ("Request", {"fields": [
            "image", "audio", "spoken", "audio_2", "order", "who_speaks", "prompt", "requested_parameters",
        ]}),
        ("Preparation", {
            "fields": ["prepared_sources", "shown", "num_frames", "segments_total", "variant", "prepared_plan"],
            "classes": ["collapse"],
        }),
    ]
    # fmt: on

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(media_admin.open_media)
        return [path("<uuid:render_id>/media/<str:name>/", view, name="render_render_media"), *super().get_urls()]

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        # `has_change_permission` would open the form.
        return request.user.has_perm("render.change_render")

    def buttons(self, obj: Render) -> dict[str, str]:
        return {} if obj.is_terminal or obj.cancel_requested_at else {"cancel": "Cancel"}

    @admin.action(description="Cancel selected renders", permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Render]) -> None:
        for render in queryset:
            try:
                canceled = transitions.request_cancel(render)
            except ServiceError as error:
                self.message_user(request, f"Render {render} was not canceled. {error.detail}", messages.ERROR)
                continue
            self.log_change(request, render, "Cancel requested.")
            if canceled.state == State.CANCELED:
                self.message_user(request, f"Render {render} is canceled.", messages.SUCCESS)
            else:
                self.message_user(
                    request, f"Render {render} will be canceled by its worker in a moment.", messages.SUCCESS
                )

    @admin.display(description="state", ordering="state")
    def now(self, render: Render) -> str:
        return state_text(render.state, render.phase, render.progress)

    @admin.display(ordering="error_code")
    def error(self, render: Render) -> str:
        return error_text(render.error_code, render.error_message)

    @admin.display(description="progress")
    def percent(self, render: Render) -> str:
        return f"{render.progress} %"

    @admin.display
    def video(self, render: Render) -> str:
        return media_link(render.pk, "video", render.video_key, "Watch the video")

    @admin.display
    def poster(self, render: Render) -> str:
        return media_link(render.pk, "poster", render.poster_key, "Open the poster")

    @admin.display
    def transparent(self, render: Render) -> str:
        return media_link(render.pk, "transparent", render.alpha_key, "Watch the video without background")

    @admin.display
    def usage(self, render: Render) -> str:
        return object_link(UsageEntry.objects.select_related("tenant").filter(render_id=render.pk).first())

    @admin.display
    def trace(self, render: Render) -> str:
        return preformatted(without_queries(render.error_trace))

    @admin.display(ordering="image_url")
    def image(self, render: Render) -> str:
        return external_link(render.image_url)

    @admin.display
    def audio(self, render: Render) -> str:
        return external_link(render.audio_url)

    @admin.display(description="script")
    def spoken(self, render: Render) -> str:
        return script_text(render.script)

    @admin.display(description="second audio")
    def audio_2(self, render: Render) -> str:
        return external_link(render.audio_url_2)

    @admin.display(description="audio order")
    def order(self, render: Render) -> str:
        return audio_order_text(render.audio_order, render.audio_url_2)

    @admin.display(description="speakers")
    def who_speaks(self, render: Render) -> str:
        return speakers_text(render.speakers)

    @admin.display(description="frame")
    def shown(self, render: Render) -> str:
        return frame_text(render.frame)

    @admin.display(description="parameters")
    def requested_parameters(self, render: Render) -> str:
        return values_table(render.parameters)

    @admin.display(description="plan")
    def prepared_plan(self, render: Render) -> str:
        return plan_text(render.plan)

    @admin.display(description="sources")
    def prepared_sources(self, render: Render) -> str:
        sources = {name: key for name, key in media_keys(render).items() if name not in RESULTS}
        links = [(media_link(render.pk, name, key, name),) for name, key in sources.items()]
        return format_html_join(", ", "{}", links) or NOTHING
