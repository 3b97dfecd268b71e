"""The endpoints under /api/v1/projects."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.http import conditional_page
from drf_spectacular.utils import (
    OpenApiParameter,
    OpenApiResponse,
    PolymorphicProxySerializer,
    extend_schema,
    inline_serializer,
)
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts import audit
from accounts.api import query_parameters
from accounts.api.idempotency import idempotent
from accounts.api.views import KeyedView
from accounts.billing import quota
from accounts.errors import ServiceError
from accounts.models import Scope
from projects import services
from projects.api.dry_run import CreateQuery, DryRun, DryRunSerializer
from projects.api.input import ProjectRequest
from projects.api.listing import ListQuery, Page
from projects.models import Project
from projects.presentation.projects import ProjectPresentation, present, present_new, with_takes
from projects.presentation.serializers import EnvelopeSerializer, ProjectSerializer, StatusSerializer
from projects.progress import sse
from projects.progress.watcher import Access
from projects.retention import project_deletion
from projects.services import NewProject
from render.estimates import queue_snapshot
from render.estimates.queue_snapshot import QueueSnapshot
from render.models import State

LIST_HEADERS = {
    "Link": "RFC 8288 links: `next`, if there are more, and `first`.",
    "X-Next-Cursor": "The `cursor` of the next page, if there are more.",
    "X-Has-More": "`true` or `false`.",
    "X-Total-Count": "With `count=true`: how many projects match.",
}
PROJECT_LIST = PolymorphicProxySerializer(
    "ProjectList",
    [ProjectSerializer(many=True), EnvelopeSerializer],
    resource_type_field_name=None,
    many=False,  # It is a list already, or is none.
)


def _shown(view: "ProjectViewSet") -> dict[str, Any]:
    """The project of the request as it is now."""
    [presented] = view._present([view.get_object()])
    return ProjectSerializer(presented).data


@extend_schema(tags=["projects"])
class ProjectViewSet(KeyedView, GenericViewSet[Project]):
    queryset = Project.objects.none()
    serializer_class = ProjectRequest  # For OPTIONS, which describes the fields.
    creating_actions = ("create", "retry", "finalize")
    required_scopes = {
        "list": Scope.PROJECTS_READ,
        "retrieve": Scope.PROJECTS_READ,
        "status": Scope.PROJECTS_READ,
        "events": Scope.PROJECTS_READ,
        "create": Scope.PROJECTS_WRITE,
        "destroy": Scope.PROJECTS_WRITE,
        "cancel": Scope.PROJECTS_WRITE,
        "retry": Scope.PROJECTS_WRITE,
        "finalize": Scope.PROJECTS_WRITE,
    }

    def get_queryset(self) -> QuerySet[Project]:
        key = self.api_key
        projects = Project.objects.filter(tenant=key.tenant, is_test=key.is_test, deleted_at=None)
        if self.action in ("status", "events"):
            # A poll is by far the most frequent request, and shows neither the project itself nor its earlier takes.
            return with_takes(projects.only("pk"), shown=1)
        return with_takes(projects.select_related("tenant__plan"))

    @extend_schema(
        summary="List projects, newest first",
        parameters=[
            ListQuery,
            *[
                OpenApiParameter(name, str, OpenApiParameter.HEADER, response=[200], description=description)
                for name, description in LIST_HEADERS.items()
            ],
        ],
        responses={200: PROJECT_LIST},
    )
    def list(self, request: Request) -> Response:
        """With `envelope=true` the answer is `{"data": [...], "has_more": ..., "next_cursor": ...}`."""
        query = query_parameters.read(ListQuery, request)
        page = Page(self.get_queryset(), query, tenant=self.api_key.tenant)
        data = serializers.ListSerializer(child=ProjectSerializer()).to_representation(self._present(page.projects))
        envelope = {"data": data, "has_more": page.next_cursor is not None, "next_cursor": page.next_cursor}
        return Response(
            envelope if query["envelope"] else data,
            headers=page.headers(request, base_url=self.base_url),
        )

    @extend_schema(
        summary="Create a project and start rendering",
        request=ProjectRequest,
        parameters=[
            OpenApiParameter("Location", str, OpenApiParameter.HEADER, response=[201]),
            CreateQuery,
        ],
        responses={201: ProjectSerializer, 200: DryRunSerializer},
    )
    def create(self, request: Request) -> Response:
        """Unknown fields are not an error, they come back in `warnings`."""
        if request.query_params and query_parameters.read(CreateQuery, request, refuse_unknown=True)["dry_run"]:
            # Read before the render is made: the snapshot is shared, and must not show a render that will not stay.
            return self._dry_run(request, queue_snapshot.current())
        return self._create(request)

    @idempotent()
    def _create(self, request: Request) -> Response:
        new = self._new_project(request)
        presented = present_new(new.take, base_url=self.base_url)
        return Response(
            ProjectSerializer(presented).data,
            status=status.HTTP_200_OK if self.api_key.legacy_200 else status.HTTP_201_CREATED,
            headers={"Location": presented.urls["self"]},
        )

    @transaction.atomic
    def _dry_run(self, request: Request, snapshot: QueueSnapshot) -> Response:
        """Does all that `_create` does, and undoes it."""
        new = self._new_project(request)
        hold = new.hold
        # Test renders use nothing of the quota, and a test key does not learn what the live ones have used.
        left = hold.tenant.plan.monthly_seconds
        if not hold.is_test:
            left = quota.seconds_available(hold.tenant, at=hold.created_at)
        presented = present_new(new.take, base_url=self.base_url, snapshot=snapshot)
        data = DryRunSerializer(DryRun(presented, hold, left, new.has_true_length)).data
        transaction.set_rollback(True)
        return Response(data)

    def _new_project(self, request: Request) -> NewProject:
        serializer = ProjectRequest(data=request.data)
        serializer.is_valid(raise_exception=True)
        key, fields = self.api_key, dict(serializer.validated_data)
        scenario = fields.pop("test_scenario", "")
        if scenario and not key.is_test:
            raise ServiceError("invalid", "test_scenario: Only with a test key.", param="test_scenario")
        project = Project(tenant=key.tenant, api_key=key, is_test=key.is_test, **fields)
        return services.create_project(project, test_scenario=scenario)

    @extend_schema(summary="Get a project", responses=ProjectSerializer)
    @method_decorator(conditional_page)
    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(_shown(self))

    @extend_schema(
        summary="Delete a project",
        responses={200: inline_serializer("Deleted", {"detail": serializers.CharField()})},
    )
    def destroy(self, request: Request, pk: str) -> Response:
        """Hides it for good and cancels its render. Its videos, and what you have sent, are then deleted everywhere."""
        project_deletion.delete_project(self.get_object(), self.api_key)
        return Response({"detail": "Project deleted successfully"})

    @extend_schema(summary="Get a project's progress", responses=StatusSerializer)
    @action(detail=True)
    @method_decorator(conditional_page)
    def status(self, request: Request, pk: str) -> Response:
        """Small and made for polling: wait `poll_after_seconds` in between, and send the ETag back.

        With `Prefer: wait=N`, up to 25, the answer waits for so many seconds until something has changed.
        """
        [project] = self._present([self.get_object()])
        return Response(StatusSerializer(project).data)

    @extend_schema(
        summary="Follow a project's progress",
        responses={(200, sse.CONTENT_TYPE): sse.EVENT_SCHEMA},
    )
    @action(detail=True)
    def events(self, request: Request, pk: str) -> StreamingHttpResponse:
        """Server-sent events: `status`, with the same JSON as the status, at once and at each change until the end.

        It ends as well, some seconds later, when the API key is revoked, expires, or loses the scope or this network.
        """
        project_id = self.get_object().pk

        def read_status() -> dict[str, Any] | None:
            presented = self._present(list(self.get_queryset().filter(pk=project_id)))
            return StatusSerializer(presented[0]).data if presented else None

        access = Access(self.api_key.pk, Scope.PROJECTS_READ, audit.ip_address_of(request))
        return sse.stream(project_id, read_status, base_url=self.base_url, access=access)

    def perform_content_negotiation(self, request: Request, force: bool = False) -> tuple[BaseRenderer, str]:
        # An EventSource accepts only `text/event-stream`; errors are answered in JSON all the same.
        return super().perform_content_negotiation(request, force=force or self.action == "events")

    @extend_schema(
        summary="Cancel the latest render",
        request=None,
        responses={
            200: OpenApiResponse(ProjectSerializer, "It was still queued, or canceled already: it is canceled now."),
            202: OpenApiResponse(ProjectSerializer, "It is running, and its worker was told to stop."),
        },
    )
    @action(detail=True, methods=["post"])
    @idempotent(current_body=_shown)
    def cancel(self, request: Request, pk: str) -> Response:
        """A canceled render is not charged."""
        render = services.cancel(self.get_object())
        return Response(_shown(self), status=200 if render.state == State.CANCELED else 202)

    @extend_schema(summary="Render again what failed or was canceled", request=None, responses={202: ProjectSerializer})
    @action(detail=True, methods=["post"])
    @idempotent(current_body=_shown)
    def retry(self, request: Request, pk: str) -> Response:
        """Makes another take: same engine, inputs, parameters and seed.

        It goes on from what the last one has prepared and rendered, which is kept for 7 days. So a file that has
        changed at its address is not fetched again, unless it was at fault: make a new project for it.
        """
        services.retry(self.get_object(), self.api_key)
        return Response(_shown(self), status=202)

    @extend_schema(summary="Render the draft in full quality", request=None, responses={202: ProjectSerializer})
    @action(detail=True, methods=["post"])
    @idempotent(current_body=_shown)
    def finalize(self, request: Request, pk: str) -> Response:
        """Takes the latest finished draft: same inputs, parameters and seed, on the final engine."""
        services.finalize(self.get_object(), self.api_key)
        return Response(_shown(self), status=202)

    def _present(self, projects: Iterable[Project]) -> Sequence[ProjectPresentation]:
        return present(projects, base_url=self.base_url)
