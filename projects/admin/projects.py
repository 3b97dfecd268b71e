"""Projects with their takes, for support staff: the page only shows them, and offers the staff actions."""

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.utils import display_for_value
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.shortcuts import render as render_page
from django.urls import URLPattern, path
from django.utils.html import format_html_join

from accounts import audit
from accounts.admin.base import NOTHING, ReadOnlyAdmin, ReadOnlyInline, object_link, preformatted, without_queries
from accounts.errors import ServiceError
from projects.admin.assets import source_link
from projects.admin.staff_actions import STAFF_ACTIONS
from projects.admin.timeline import timeline
from projects.models import Project, Take
from projects.presentation.projects import present_one
from projects.presentation.serializers import ProjectSerializer
from render.admin.media import media_keys, media_link
from render.admin.renders import EngineFilter, QueueFilter, error_text, state_text
from render.admin.request_fields import audio_order_text, script_text, speakers_text, values_table, warnings_list
from render.models import Render, State

# Of the API's answer: whoever has such a link can open the video or the image.
MEDIA_LINKS = {"video_url", "video_alpha_url", "preview_url", "poster_url", "thumbnail_url"}


class TakeInline(ReadOnlyInline):
    model = Take
    fields = ["number", "kind", "render_link", "engine", "state", "error", "files", "created_at", "completed_at"]

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
    def files(self, take: Take) -> str:
        if take.project.deleted_at is not None:
            return NOTHING  # The videos of a deleted project are removed, their keys stay.
        links = [(media_link(take.render_id, name, key, name),) for name, key in media_keys(take.render).items()]
        return format_html_join(", ", "{}", links) or NOTHING

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


class EngineOfTake(EngineFilter):
    field = "takes__render__engine"


class QueueOfTake(QueueFilter):
    field = "takes__render__queue"


@admin.register(Project)
class ProjectAdmin(ReadOnlyAdmin):
    list_display = ["title", "short_id", "tenant", "user_id", "state", "error", "created_at", "is_kept"]
    list_filter = [
        "created_at",
        StateFilter,
        EngineOfTake,
        QueueOfTake,
        "is_test",
        ("deleted_at", admin.EmptyFieldListFilter),
        "tenant",
    ]
    list_select_related = ["tenant"]
    search_fields = ["title", "user_id"]
    key_lookup = "api_key__prefix"
    tenant_search = True
    search_help_text = "Id of a project, render or tenant; start of a project's id; title, user id, tenant, key prefix."
    id_lookups = ["pk", "tenant", "takes__render"]
    ordering = ["-created_at"]
    inlines = [TakeInline]
    change_form_template = "admin/project.html"
    # fmt: off
    fieldsets = [
        (None, {"fields": ["id", "title", "state", "error", "latest_render", "tenant", "user_id", "api_key"]}),
        ("When", {"fields": ["created_at", "updated_at", "deleted_at"]}),
        ("What was requested", {"fields": [
            "description", "image", "audio", "spoken", "audio_2", "order", "who_speaks", "prompt",
            "start_deadline_seconds", "total_deadline_seconds",
            "requested_parameters", "requested_metadata", "webhook_url", "all_warnings",
        ]}),
        ("As the tenant sees it", {
            "fields": ["as_the_api_shows_it"], "classes": ["collapse"],
            "description": "Without the links to media: open the files above, where each view is recorded.",
        }),
    ]
    # fmt: on

    def get_queryset(self, request: HttpRequest) -> QuerySet[Project]:
        projects: QuerySet[Project] = super().get_queryset(request)
        latest = Take.objects.filter(project=OuterRef("pk")).order_by("-number")
        names = ["state", "phase", "progress", "error_code", "error_message", "id"]
        return projects.annotate(**{f"latest_{name}": Subquery(latest.values(f"render__{name}")[:1]) for name in names})

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.staff_action_view)
        route = path("<uuid:project_id>/<str:name>/do/", view, name="projects_project_staff_action")
        return [route, *super().get_urls()]

    def staff_action_view(self, request: HttpRequest, project_id: UUID, name: str) -> HttpResponse:
        """Shows a form for the reason, and does the action when the form is sent."""
        action, project = STAFF_ACTIONS.get(name), self.get_object(request, str(project_id))
        if action is None or project is None:
            raise Http404
        if not (self.has_view_permission(request) and request.user.has_perm(action.permission)):
            raise PermissionDenied
        form = action.form(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                with transaction.atomic():
                    assert isinstance(request.user, User)
                    message = action.act(project, form.cleaned_data, request.user)
                    values = {key: str(value) for key, value in form.cleaned_data.items() if key != "reason"}
                    audit.record(
                        f"project.{name}",
                        project,
                        request=request,
                        tenant=project.tenant,
                        reason=form.cleaned_data["reason"],
                        details=values,
                    )
            except ServiceError as error:
                self.message_user(request, error.detail, messages.ERROR)
            else:
                self.message_user(request, f"{action.label}: {message}", messages.SUCCESS)
            return redirect("admin:projects_project_change", project_id)
        context = {**self.admin_site.each_context(request), "title": f"{action.label}: {project}", "opts": self.opts}
        return render_page(
            request, "admin/staff_action.html", {**context, "action": action, "form": form, "original": project}
        )

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        project = kwargs.get("obj")
        if project is not None:
            context["moments"] = timeline(project)
            context["staff_actions"] = {
                name: action.label
                for name, action in STAFF_ACTIONS.items()
                if request.user.has_perm(action.permission) and action.possible(project.latest_state)
            }
        return super().render_change_form(request, context, *args, **kwargs)

    @admin.display(description="")
    def as_the_api_shows_it(self, project: Project) -> str:
        return preformatted(_without_links(ProjectSerializer(present_one(project)).data))

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
        return source_link(project.image_url)

    @admin.display
    def audio(self, project: Project) -> str:
        return source_link(project.audio_url)

    @admin.display(description="script")
    def spoken(self, project: Project) -> str:
        return script_text(project.script)

    @admin.display(description="second audio")
    def audio_2(self, project: Project) -> str:
        return source_link(project.audio_url_2)

    @admin.display(description="speakers")
    def who_speaks(self, project: Project) -> str:
        return speakers_text(project.speakers)

    @admin.display(description="audio order")
    def order(self, project: Project) -> str:
        return audio_order_text(project.audio_order, project.audio_url_2)

    @admin.display(description="parameters")
    def requested_parameters(self, project: Project) -> str:
        return values_table(project.parameters)

    @admin.display(description="metadata")
    def requested_metadata(self, project: Project) -> str:
        return preformatted(project.metadata)

    @admin.display(description="warnings")
    def all_warnings(self, project: Project) -> str:
        render = Render.objects.filter(pk=project.latest_id).first()  # type: ignore[attr-defined]
        return warnings_list([*project.warnings, *(render.warnings if render else [])])


def _without_links(shown: Any) -> Any:
    if isinstance(shown, dict):
        return {name: None if name in MEDIA_LINKS else _without_links(value) for name, value in shown.items()}
    if isinstance(shown, list):
        return [_without_links(value) for value in shown]
    return without_queries(shown) if isinstance(shown, str) else shown
