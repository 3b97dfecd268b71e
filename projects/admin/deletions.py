"""Receipts of deleted projects, which show a customer that everything is gone, and what could not be deleted."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.admin.base import ReadOnlyAdmin, object_link
from projects.models import Deletion, RetentionFailure


@admin.register(Deletion)
class DeletionAdmin(ReadOnlyAdmin):
    list_display = ["project_id", "tenant", "requested_at", "completed_at", "files"]
    list_filter = [("completed_at", admin.EmptyFieldListFilter)]
    list_select_related = ["tenant"]
    search_fields = ["tenant__name"]
    id_lookups = ["project", "tenant"]
    ordering = ["-requested_at"]
    fields = ["project_link", "tenant", "api_key", "requested_at", "sweep_after", "completed_at", "files"]

    @admin.display(description="project")
    def project_link(self, deletion: Deletion) -> str:
        return object_link(deletion.project, str(deletion.project_id))


@admin.register(RetentionFailure)
class RetentionFailureAdmin(ReadOnlyAdmin):
    """Rows that should have been deleted by now."""

    list_display = ["step", "row_id", "failures", "error", "next_try_at", "created_at"]
    list_filter = ["step"]
    search_fields = ["=row_id"]
    id_lookups = ["row_id"]
    ordering = ["-failures", "-created_at"]
    fields = ["step", "row_id", "failures", "error", "next_try_at", "created_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[RetentionFailure]:
        return super().get_queryset(request).filter(failures__gt=0)  # A row that is still in use has none.
