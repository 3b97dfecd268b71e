"""Usage, one row per render, and the notices of a month's allowance running out."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from accounts.models.api_keys import ApiKey
from accounts.models.tenants import Tenant


class UsageEntry(models.Model):
    """One row per render: a hold until it is settled, then a charge. An adjustment is a row without a render.

    Written by `accounts.billing.quota` alone.
    """

    class Kind(models.TextChoices):
        HOLD = "hold"
        CHARGE = "charge"
        ADJUSTMENT = "adjustment"

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="usage")
    api_key = models.ForeignKey(ApiKey, on_delete=models.SET_NULL, null=True, related_name="usage")
    render_id = models.UUIDField(unique=True, null=True, editable=False)
    engine = models.CharField(max_length=40, blank=True)
    resolution = models.CharField(max_length=10, blank=True)
    # The default is in the database, too: during an upgrade, older code that does not know the field still adds rows.
    upscale_micros = models.BigIntegerField(
        default=0, db_default=0, help_text="The part of the price that is for the upscaling."
    )
    upscale = models.CharField(
        max_length=10,
        default="none",
        db_default="none",
        help_text="`parameters.upscale` of the render; `none`: not enlarged.",
    )
    user_label = models.CharField(
        max_length=200, blank=True, help_text="The tenant's own user, `user_id` of the request."
    )
    is_test = models.BooleanField(
        default=False, help_text="Made with a test key: it costs nothing and uses none of the quota."
    )
    reserved_seconds = models.PositiveIntegerField(default=0)
    billed_seconds = models.IntegerField(null=True)
    price_micros = models.BigIntegerField(
        default=0,
        help_text="Price of one second, upscaling included, at the time when the render was requested.",
    )
    amount_micros = models.BigIntegerField(default=0)
    currency = models.CharField(max_length=3, default="USD")
    gpu_seconds = models.FloatField(default=0)
    cost_micros = models.BigIntegerField(default=0)
    reason = models.TextField(blank=True)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    settled_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "usage entries"
        permissions = [("credit_tenant", "Can credit or charge a tenant"), ("view_report", "Can view the report")]
        indexes = [
            models.Index(fields=["tenant", "created_at"]),
            models.Index(fields=["created_at"], name="usage_of_a_time"),
        ]
        constraints = [
            models.CheckConstraint(
                name="billed_within_the_hold",
                condition=Q(render_id__isnull=True)
                | Q(billed_seconds__isnull=True)
                | Q(billed_seconds__gte=0, billed_seconds__lte=F("reserved_seconds")),
            ),
            models.CheckConstraint(
                name="adjustments_have_a_reason", condition=Q(render_id__isnull=False) | ~Q(reason="")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tenant}: {self.reserved_seconds if self.billed_seconds is None else self.billed_seconds} s"

    @property
    def kind(self) -> "UsageEntry.Kind":
        if self.render_id is None:
            return self.Kind.ADJUSTMENT
        return self.Kind.HOLD if self.billed_seconds is None else self.Kind.CHARGE


class UsageThreshold(models.Model):
    """A tenant has used a percentage of its plan's seconds or spend cap of a month. One row for each percentage.

    Written by `accounts.billing.quota` alone; `projects` sends a webhook message for each row.
    """

    class Measure(models.TextChoices):
        SECONDS = "seconds"
        SPEND = "spend"

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="usage_thresholds")
    month = models.DateField(help_text="First day of the month (UTC).")
    measure = models.CharField(max_length=10, choices=Measure)
    percent = models.PositiveSmallIntegerField()
    used = models.BigIntegerField(help_text="Seconds or micros, at the time when the threshold was reached.")
    allowed = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "month", "measure", "percent"], name="one_row_a_threshold")
        ]

    def __str__(self) -> str:
        return f"{self.tenant}: {self.percent} % of {self.measure} in {self.month:%Y-%m}"
