"""Projects, their takes, and the receipts of their deletion."""

import uuid

from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Now

from accounts.models import ApiKey, Tenant
from render.models import Render

MAX_TAKES = 100  # of a project


class AudioOrder(models.TextChoices):
    LEFT_RIGHT = "left_right"
    RIGHT_LEFT = "right_left"
    MEANWHILE = "meanwhile"


class Project(models.Model):
    """What a customer has requested. Its state is that of its latest take."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="projects")
    api_key = models.ForeignKey(ApiKey, on_delete=models.SET_NULL, null=True, related_name="projects")
    user_id = models.CharField(
        max_length=200, default="anonymous", help_text="The tenant's own label; no authorisation."
    )
    title = models.CharField(max_length=200)
    # Null, here and below, means that it was not given: it is returned as null, and an empty text as an empty text.
    description = models.TextField(blank=True, null=True)  # noqa: DJ001
    image_url = models.TextField()
    audio_url = models.TextField(
        blank=True, help_text="Empty until the script is spoken, then a reference to the asset."
    )
    script = models.JSONField(null=True, blank=True, help_text="text, voice and language; instead of an audio_url.")
    audio_url_2 = models.TextField(blank=True, null=True)  # noqa: DJ001
    audio_order = models.CharField(max_length=12, choices=AudioOrder, default=AudioOrder.LEFT_RIGHT)
    speakers = models.JSONField(
        default=list, db_default=Value([], models.JSONField()), blank=True, help_text="Whose face each voice moves."
    )
    prompt = models.TextField(blank=True, null=True)  # noqa: DJ001
    start_deadline_seconds = models.PositiveIntegerField(null=True, help_text="For a take to begin, from its creation.")
    total_deadline_seconds = models.PositiveIntegerField(null=True, help_text="For a take to be finished.")
    is_test = models.BooleanField(default=False, help_text="Made with a test key; only test keys see it.")
    parameters = models.JSONField(default=dict, help_text="As given, with the seed that was drawn.")
    metadata = models.JSONField(default=dict)
    webhook_url = models.TextField(
        blank=True, default="", db_default="", help_text="Gets messages about this project, beside the endpoints."
    )
    warnings = models.JSONField(default=list)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)
    deleted_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        permissions = [
            ("cancel_project", "Can cancel a project's render"),
            ("retry_project", "Can render a project again"),
        ]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="newest_projects"),
            models.Index(fields=["tenant", "-created_at", "-id"], name="newest_of_tenant"),
            models.Index(fields=["tenant", "user_id", "-created_at"], name="newest_of_user"),
            models.Index(fields=["updated_at"], name="oldest_tests", condition=Q(is_test=True, deleted_at=None)),
        ]

    def __str__(self) -> str:
        return self.title


class RetentionFailure(models.Model):
    """A row that could not be deleted when its time was over. It is skipped for a while, and delays no other row.

    Zero failures: it is still in use.
    """

    step = models.CharField(max_length=20, help_text="A step of `projects.retention.policy`.")
    row_id = models.CharField(max_length=40, help_text="Id of the row that could not be deleted.")
    failures = models.PositiveIntegerField(default=1)
    error = models.CharField(max_length=200)
    next_try_at = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["step", "row_id"], name="one_retention_failure_a_row")]

    def __str__(self) -> str:
        return f"{self.step} {self.row_id}"


class Deletion(models.Model):
    """The receipt of a project's deletion: which key has requested it, and when its media were gone.

    Written by `projects.retention.project_deletion`.
    """

    project = models.OneToOneField(Project, on_delete=models.PROTECT, related_name="deletion")
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="deletions")
    api_key = models.ForeignKey(ApiKey, on_delete=models.SET_NULL, null=True, related_name="+")
    requested_at = models.DateTimeField(db_default=Now(), editable=False)
    sweep_after = models.DateTimeField(db_default=Now(), help_text="When the next try to delete its media is due.")
    files = models.PositiveIntegerField(default=0, help_text="Number of deleted files.")
    completed_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["-requested_at"], name="newest_deletions"),
            models.Index(fields=["sweep_after"], name="deletions_due", condition=Q(completed_at=None)),
        ]

    def __str__(self) -> str:
        return f"of {self.project_id}"


class Take(models.Model):
    """One render of a project: a draft, the final, or another try."""

    class Kind(models.TextChoices):
        DRAFT = "draft"
        FINAL = "final"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="takes")
    number = models.PositiveIntegerField()
    kind = models.CharField(max_length=10, choices=Kind)
    render = models.OneToOneField(Render, on_delete=models.PROTECT, related_name="take")
    imported_video_url = models.TextField(
        blank=True, help_text="Address of a video that the older service has made and keeps."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "number"], name="one_take_a_number")]
        ordering = ["number"]

    def __str__(self) -> str:
        return f"take {self.number} of {self.project_id}"
