"""Projects with their takes for support staff: everything is read here, the API writes."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import display_for_value
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest

from accounts.admin_base import (
    NOTHING,
    ReadOnlyAdmin,
    ReadOnlyInline,
    external_link,
    media_link,
    object_link,
    preformatted,
)
from projects.models import Project, Take
from render.admin import RenderAdmin, error_text, state_text
from render.models import Render, State


class TakeInline(ReadOnlyInline):
    model = Take
    fields = ["number", "kind", "render_link", "engine", "state", "error", "video", "created_at", "completed_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Take]:
        takes: QuerySet[Take] = super().get_queryset(request)
        return takes.select_related("render", "project").order_by("-number")

    @admin.display(description="render")
    def render_link(self, take: Take) -> str:
        return object_link(take.render)

    @admin.display
    def engine(self, take: Take) -> str:
        return take.render.engine

    @admin.display
    def state(self, take: Take) -> str:
        return state_text(take.render.state, take.render.phase, take.render.progress)

    @admin.display
    def error(self, take: Take) -> str:
        return error_text(take.render.error_code, take.render.error_message)

    @admin.display
    def video(self, take: Take) -> str:
        if take.project.deleted_at is not None:
            return NOTHING  # The films of a deleted project are removed, their keys stay.
        return media_link(take.render.video_key, "Watch")

    @admin.display
    def completed_at(self, take: Take) -> str:
        return display_for_value(take.render.completed_at, NOTHING)


class StateFilter(admin.SimpleListFilter):
    title = "state of the latest take"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, str(label)) for value, label in State.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Project]) -> QuerySet[Project]:
        return queryset.filter(Q(latest_state=self.value())) if self.value() else queryset


@admin.register(Project)
class ProjectAdmin(ReadOnlyAdmin):
    list_display = ["title", "short_id", "tenant", "user_id", "state", "error", "created_at", "is_kept"]
    list_filter = [
        StateFilter, "takes__render__engine", "takes__render__queue",
        ("deleted_at", admin.EmptyFieldListFilter), "tenant",
    ]  # fmt: skip
    list_select_related = ["tenant"]
    search_fields = ["^id", "title", "user_id", "tenant__name", "api_key__prefix"]
    search_help_text = "Id of a project, render or tenant; start of a project's id; title, user id, tenant, key prefix."
    id_lookups = ["pk", "tenant", "takes__render"]
    date_hierarchy = "created_at"
    ordering = ["-created_at"]
    inlines = [TakeInline]
    # fmt: off
    fieldsets = [
        (None, {"fields": ["id", "title", "state", "error", "latest_render", "tenant", "user_id", "api_key"]}),
        ("When", {"fields": ["created_at", "updated_at", "deleted_at"]}),
        ("What was asked", {"fields": [
            "description", "image", "audio", "audio_2", "audio_order", "prompt",
            "asked_parameters", "given_metadata", "given_warnings",
        ]}),
    ]
    # fmt: on

    def get_queryset(self, request: HttpRequest) -> QuerySet[Project]:
        projects: QuerySet[Project] = super().get_queryset(request)
        latest = Take.objects.filter(project=OuterRef("pk")).order_by("-number")
        names = ["state", "phase", "progress", "error_code", "error_message", "id"]
        return projects.annotate(**{f"latest_{name}": Subquery(latest.values(f"render__{name}")[:1]) for name in names})

    @admin.display(ordering="latest_state")
    def state(self, project: Project) -> str:
        return state_text(project.latest_state, project.latest_phase, project.latest_progress)  # type: ignore[attr-defined]

    @admin.display(ordering="latest_error_code")
    def error(self, project: Project) -> str:
        return error_text(project.latest_error_code, project.latest_error_message)  # type: ignore[attr-defined]

    @admin.display(description="render of the latest take")
    def latest_render(self, project: Project) -> str:
        return object_link(Render.objects.filter(pk=project.latest_id).first())  # type: ignore[attr-defined]

    @admin.display(boolean=True, description="kept", ordering="deleted_at")
    def is_kept(self, project: Project) -> bool:
        return project.deleted_at is None

    @admin.display
    def image(self, project: Project) -> str:
        return external_link(project.image_url)

    @admin.display
    def audio(self, project: Project) -> str:
        return external_link(project.audio_url)

    @admin.display(description="second audio")
    def audio_2(self, project: Project) -> str:
        return external_link(project.audio_url_2)

    @admin.display(description="parameters")
    def asked_parameters(self, project: Project) -> str:
        return preformatted(project.parameters)

    @admin.display(description="metadata")
    def given_metadata(self, project: Project) -> str:
        return preformatted(project.metadata)

    @admin.display(description="warnings")
    def given_warnings(self, project: Project) -> str:
        return preformatted(project.warnings)


admin.site.unregister(Render)


@admin.register(Render)
class RenderOfProjectAdmin(RenderAdmin):
    """The page of `render.admin`, which knows no projects, with the way back to the project."""

    list_display = ["short_id", "project", *RenderAdmin.list_display[1:]]
    list_select_related = ["tenant", "node", "take__project"]
    search_fields = [*RenderAdmin.search_fields, "take__project__title"]
    id_lookups = [*RenderAdmin.id_lookups, "take__project"]
    search_help_text = "Id of a render, project or tenant, or how a render's id starts; title, tenant, error, node."
    fieldsets = [
        (None, {"fields": ["id", "project", "tenant", "engine", "queue", "priority"]}),
        *RenderAdmin.fieldsets[1:],
    ]

    @admin.display(ordering="take__project__title")
    def project(self, render: Render) -> str:
        return object_link(render.take.project) if hasattr(render, "take") else NOTHING
