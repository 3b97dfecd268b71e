"""Files of customers, portraits with a name, and stored objects that are to be deleted."""

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import Tenant
from render.models import Node


class Asset(models.Model):
    """A customer's own file in the media storage: uploaded once, used in any number of projects."""

    class Kind(models.TextChoices):
        IMAGE = "image"
        VIDEO = "video"
        AUDIO = "audio"

    class State(models.TextChoices):
        WAITING = "waiting"
        READY = "ready"
        ERRORED = "errored"
        EXPIRED = "expired"

    class Origin(models.TextChoices):
        UPLOAD = "upload"
        SPEECH = "speech", "spoken from a script"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="assets")
    is_test = models.BooleanField(default=False, help_text="Made with a test key; only test keys see it.")
    origin = models.CharField(max_length=10, choices=Origin, default=Origin.UPLOAD)
    filename = models.CharField(max_length=200)
    content_type = models.CharField(max_length=100)
    num_bytes = models.BigIntegerField(help_text="Size as announced; checked when the file has arrived.")
    sha256 = models.CharField(
        max_length=64, blank=True, help_text="As announced, or as computed when the file was checked."
    )
    key = models.CharField(max_length=300, help_text="In the media storage; equal files of a tenant share one.")
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    # From the check
    kind = models.CharField(max_length=10, choices=Kind, blank=True)
    facts = models.JSONField(default=dict, blank=True)
    error_code = models.CharField(max_length=40, blank=True)
    error_message = models.TextField(blank=True)
    uploaded_at = models.DateTimeField(null=True, help_text="When the file had arrived.")
    expires_at = models.DateTimeField(null=True, help_text="Until when the file may arrive.")
    check_after = models.DateTimeField(null=True, help_text="When the next worker may check it.")
    checks = models.PositiveIntegerField(
        default=0, help_text="Checks that were begun. Only the worker of the latest one may write."
    )
    put_offs = models.PositiveIntegerField(
        default=0,
        db_default=0,
        help_text="Checks that a machine or the storage could not do; they do not count as tries.",
    )
    storage_failures = models.PositiveIntegerField(
        default=0, db_default=0, help_text="How often the check could not be done because the storage was away."
    )
    being_checked = models.BooleanField(
        default=False, db_default=False, help_text="Whether a worker has it, until `check_after`."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    deleted_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "-created_at", "-id"], name="newest_assets"),
            models.Index(fields=["tenant", "sha256"], name="assets_by_content"),
            models.Index(fields=["key"], name="assets_by_key"),
            # Not by time alone: that index leads through the files of all tenants to the oldest one of a tenant.
            models.Index(fields=["tenant", "check_after"], name="assets_to_check_of", condition=Q(state="waiting")),
            models.Index(fields=["tenant"], name="assets_in_hand", condition=Q(being_checked=True)),
        ]

    def __str__(self) -> str:
        return self.filename


class CheckTurn(models.Model):
    """When an upload of the tenant was last claimed for its check, and by which node: tenants take turns.

    Written by `projects.assets.claims`.
    """

    tenant = models.OneToOneField(Tenant, on_delete=models.CASCADE, primary_key=True, related_name="check_turn")
    node = models.ForeignKey(Node, on_delete=models.SET_NULL, null=True, related_name="+")
    begun_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"of {self.tenant_id}"


class DiscardedObject(models.Model):
    """The key of a stored object that is to be deleted, unless an asset names it by then.

    Written by `projects.assets.discards`.
    """

    key = models.CharField(max_length=300)
    delete_after = models.DateTimeField(db_default=Now(), help_text="When the next try to delete it is due.")
    tries = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        indexes = [models.Index(fields=["delete_after"], name="discards_due")]

    def __str__(self) -> str:
        return self.key


class Avatar(models.Model):
    """A portrait with a name, for use in many projects."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="avatars")
    is_test = models.BooleanField(default=False)
    name = models.CharField(max_length=120)
    asset = models.ForeignKey(Asset, on_delete=models.PROTECT, related_name="avatars")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        indexes = [models.Index(fields=["tenant", "-created_at", "-id"], name="newest_avatars")]

    def __str__(self) -> str:
        return self.name
