"""Tenants, their plans and their members."""

import uuid

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts import prices

# Renders that cost nothing (canceled, failed, or started with a test key) still leave rows that are never deleted.
FREE_RENDERS = 10_000  # per month


class Plan(models.Model):
    """The limits and prices of its tenants."""

    name = models.CharField(max_length=60, unique=True)
    monthly_seconds = models.PositiveIntegerField(
        default=3600, help_text="Seconds of video that a tenant may make per calendar month (UTC)."
    )
    spend_cap_micros = models.BigIntegerField(
        null=True,
        blank=True,
        help_text="Highest amount per month, in millionths of the currency. Empty: no cap.",
    )
    currency = models.CharField(max_length=3, default="USD")
    max_concurrent = models.PositiveSmallIntegerField(
        default=2, help_text="Renders that run at the same time; more wait in the queue."
    )
    max_queued = models.PositiveIntegerField(default=100, help_text="Renders that wait in the queue; more are refused.")
    max_audio_seconds = models.PositiveIntegerField(
        default=600, help_text="Longest voice recording or spoken script, in seconds."
    )
    requests_per_minute = models.PositiveIntegerField(
        default=600, help_text="Requests per minute, except those that start a render."
    )
    creates_per_minute = models.PositiveIntegerField(default=60, help_text="Requests per minute that start a render.")
    weight = models.PositiveSmallIntegerField(
        default=1,
        help_text="Share of the nodes when tenants compete: a tenant with 2 gets twice as much as one with 1.",
    )
    prices = models.JSONField(
        default=dict,
        blank=True,
        help_text="Price of one second of video, in millionths of the currency, by engine and size: "
        '{"infinitetalk": {"480p": 15000}}. The prices of upscaling are optional and are added to it: '
        '{"upscale": {"720p": 1000, "1080p": 2000}}. An upscaling without a price is not sold on a plan with prices.',
    )
    # The default is in the database, too: during an upgrade, older code that does not know the field still adds plans.
    max_stored_bytes = models.BigIntegerField(
        default=20 * 2**30, db_default=20 * 2**30, help_text="Bytes of uploaded files and spoken scripts."
    )
    retention_days = models.PositiveIntegerField(
        default=30, help_text="Days until the video of a render is deleted, and an unchanged project of a test key."
    )

    class Meta:
        # The queue's fair share divides by the weight.
        constraints = [models.CheckConstraint(name="plan_has_weight", condition=Q(weight__gte=1))]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Raises ValidationError for prices of the wrong shape, and for missing prices unless the plan is free."""
        errors = prices.shape_errors(self.prices)
        if errors:
            raise ValidationError({"prices": errors})
        if self.spend_cap_micros is not None and self.spend_cap_micros < 0:
            raise ValidationError({"spend_cap_micros": "A spend cap cannot be below 0."})
        missing = prices.missing(self)
        if missing:
            reason = "prices" if self.prices else "a spend cap"
            raise ValidationError(
                {
                    "prices": f"A plan with {reason} needs a price for each engine and size; 0 is free. "
                    f"Missing: {', '.join(missing)}."
                }
            )

    @property
    def max_test_renders(self) -> int:
        """Renders that test keys may start per month."""
        return FREE_RENDERS

    @property
    def max_renders(self) -> int:
        """Renders that live keys may start per month. A finished one uses a second of the plan or more.

        So only those that cost nothing need a limit of their own.
        """
        return FREE_RENDERS + self.monthly_seconds


class Tenant(models.Model):
    """A customer: owner of API keys, projects, files and usage. Its limits and prices are those of its plan."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120, unique=True)
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="tenants")
    suspended_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A user who may see the tenant's projects in the browser."""

    class Role(models.TextChoices):
        OWNER = "owner"
        MEMBER = "member"

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role, default=Role.MEMBER)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "user"], name="one_membership_a_user")]

    def __str__(self) -> str:
        return f"{self.user} in {self.tenant}"
