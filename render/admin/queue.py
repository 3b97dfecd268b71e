"""Read-only pages of django-q2's tables, in place of its own forms."""

import django_q.admin  # noqa: F401  # Registers its own forms, which are removed below.
from django.contrib import admin
from django.db.models import Model
from django_q.models import Failure, OrmQ, Schedule, Success

from accounts.admin.base import ReadOnlyAdmin, preformatted

# django-q2's form for a Schedule could run any function by its dotted path, and its "resubmit" runs a task again.
_queue_models: list[type[Model]] = [Failure, OrmQ, Schedule, Success]
for _model in _queue_models:
    if admin.site.is_registered(_model):
        admin.site.unregister(_model)


@admin.register(Success, Failure)
class TaskAdmin(ReadOnlyAdmin):
    list_display = ["name", "func", "cluster", "started", "stopped", "attempt_count"]
    list_filter = ["cluster", "func"]
    search_fields = ["name", "func"]
    date_hierarchy = "stopped"
    ordering = ["-stopped"]
    fields = ["id", "name", "func", "group", "cluster", "started", "stopped", "success", "attempt_count", "outcome"]

    @admin.display(description="result")
    def outcome(self, task: Success | Failure) -> str:
        return preformatted(str(task.result))


@admin.register(Schedule)
class ScheduleAdmin(ReadOnlyAdmin):
    list_display = ["name", "func", "schedule_type", "minutes", "cluster", "next_run", "repeats"]
    list_filter = ["cluster", "schedule_type"]
    search_fields = ["name", "func"]
    ordering = ["next_run"]


@admin.register(OrmQ)
class TicketAdmin(ReadOnlyAdmin):
    list_display = ["id", "key", "name", "func", "lock"]
    list_filter = ["key"]
    ordering = ["-id"]
    fields = ["id", "key", "lock", "name", "task_id", "func", "args", "kwargs"]
