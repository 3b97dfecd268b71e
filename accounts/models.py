import uuid
from datetime import datetime

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from accounts import prices


class Plan(models.Model):
    """What a tenant may use, and at which price."""

    name = models.CharField(max_length=60, unique=True)
    monthly_seconds = models.PositiveIntegerField(default=3600, help_text="Output a calendar month (UTC).")
    spend_cap_micros = models.BigIntegerField(null=True, blank=True, help_text="A month, in millionths.")
    currency = models.CharField(max_length=3, default="USD")
    max_concurrent = models.PositiveSmallIntegerField(default=2, help_text="Renders running at once; more wait.")
    max_queued = models.PositiveIntegerField(default=100, help_text="Renders waiting; more are refused.")
    max_audio_seconds = models.PositiveIntegerField(default=600, help_text="Length of one voice.")
    requests_per_minute = models.PositiveIntegerField(default=600)
    creates_per_minute = models.PositiveIntegerField(default=60, help_text="Requests that start a render.")
    weight = models.PositiveSmallIntegerField(default=1, help_text="Share of the nodes when tenants compete.")
    prices = models.JSONField(
        default=dict, blank=True, help_text='Micros for an output second: {"infinitetalk": {"480p": 15000}}.'
    )
    # In the database, too: the service before this field still makes plans while it is being replaced.
    max_stored_bytes = models.BigIntegerField(
        default=20 * 2**30, db_default=20 * 2**30, help_text="Of uploads and spoken scripts."
    )
    retention_days = models.PositiveIntegerField(default=30)

    class Meta:
        # The fair claim divides by it.
        constraints = [models.CheckConstraint(name="plan_has_weight", condition=Q(weight__gte=1))]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Raises ValidationError for prices of another shape, and for a plan that is not free and lacks prices."""
        found = prices.faults(self.prices)
        if found:
            raise ValidationError({"prices": found})
        if self.spend_cap_micros is not None and self.spend_cap_micros < 0:
            raise ValidationError({"spend_cap_micros": "A spend cap is not below 0."})
        lacking = [] if prices.is_free(self) else prices.missing(self.prices)
        if lacking:
            why = "prices" if self.prices else "a spend cap"
            detail = (
                f"A plan with {why} needs a price for each engine and size; 0 is free. Missing: {', '.join(lacking)}."
            )
            raise ValidationError({"prices": detail})


class Tenant(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120, unique=True)
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="tenants")
    suspended_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A person of the tenant who may look at its projects in the browser."""

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


class Scope(models.TextChoices):
    PROJECTS_READ = "projects:read"
    PROJECTS_WRITE = "projects:write"
    UPLOADS_WRITE = "uploads:write"
    USAGE_READ = "usage:read"
    WEBHOOKS_WRITE = "webhooks:write"
    KEYS_ADMIN = "keys:admin"


def default_scopes() -> list[str]:
    return [Scope.PROJECTS_READ, Scope.PROJECTS_WRITE, Scope.UPLOADS_WRITE, Scope.USAGE_READ]


class ApiKey(models.Model):
    """A credential: found by its prefix, proven by the SHA-256 of the key, which is shown once and kept nowhere."""

    class Mode(models.TextChoices):
        LIVE = "live"
        TEST = "test"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=120)
    mode = models.CharField(max_length=4, choices=Mode, default=Mode.LIVE)
    prefix = models.CharField(max_length=20, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    scopes = ArrayField(models.CharField(max_length=20, choices=Scope), default=default_scopes)
    allowed_ips = ArrayField(
        models.CharField(max_length=43),
        default=list,
        blank=True,
        help_text="Networks (CIDR) that may use it; none: any may.",
    )
    rotated_from = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="rotated_to"
    )
    legacy_200 = models.BooleanField(default=False, help_text="Answer 200 to POST /projects, as the older service did.")
    expires_at = models.DateTimeField(
        null=True, blank=True, help_text="From then on it opens nothing. A rotation may have brought it forward."
    )
    # Kept apart since `expires_at` ends a rotated key with its overlap: that is no bound of what it may give.
    rotated_at = models.DateTimeField(null=True, editable=False, help_text="When it was first rotated.")
    expiry_before_rotation = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    def __str__(self) -> str:
        return self.prefix

    @property
    def is_test(self) -> bool:
        return self.mode == self.Mode.TEST

    @property
    def own_expiry(self) -> datetime | None:
        """When it expires, or would expire if it had not been rotated; None: never."""
        return self.expires_at if self.rotated_at is None else self.expiry_before_rotation

    @property
    def is_usable(self) -> bool:
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > timezone.now())


class RequestWindow(models.Model):
    """A tenant's requests in the minute that began at `started_at`. Written by `accounts.api.request_rates` alone."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+")
    policy = models.CharField(max_length=20)
    started_at = models.DateTimeField()
    count = models.PositiveIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "policy"], name="one_window_a_policy")]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.policy}: {self.count}"


class FailedLogins(models.Model):
    """Wrong passwords for one account from one address, in the time that began at `started_at`.

    Written by `accounts.staff.login_limits` alone.
    """

    account = models.CharField(max_length=64, help_text="SHA-256 of the name that was given.")
    address = models.CharField(max_length=45, help_text="Of the client; of IPv6 its network of 64 bits.")
    started_at = models.DateTimeField()
    failures = models.PositiveIntegerField()
    succeeded_at = models.DateTimeField(null=True, help_text="When the account was last logged in to from there.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "address"], name="one_row_an_account_and_address")]
        indexes = [
            models.Index(fields=["address", "started_at"], name="failed_logins_of_address"),
            models.Index(fields=["started_at"], name="oldest_failed_logins"),
        ]

    def __str__(self) -> str:
        return f"{self.address}: {self.failures}"


class IdempotentResponse(models.Model):
    """What was answered to the first request with an Idempotency-Key. Written by `accounts.api.idempotency` alone."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+")
    route = models.CharField(max_length=200, help_text="Method and route; not the API key, which may be rotated.")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of what was asked.")
    status = models.PositiveSmallIntegerField()
    headers = models.JSONField(default=dict)
    body = models.JSONField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "route", "key"], name="one_response_a_key")]
        indexes = [models.Index(fields=["created_at"], name="oldest_responses")]

    def __str__(self) -> str:
        return f"{self.route} {self.key}"


class UsageEntry(models.Model):
    """One row a render: a hold while `billed_seconds` is null, then a bill. Adjustments are rows without a render.

    Written by `accounts.billing.quota` alone.
    """

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="usage")
    api_key = models.ForeignKey(ApiKey, on_delete=models.SET_NULL, null=True, related_name="usage")
    render_id = models.UUIDField(unique=True, null=True, editable=False)
    engine = models.CharField(max_length=40, blank=True)
    resolution = models.CharField(max_length=10, blank=True)
    user_label = models.CharField(max_length=200, blank=True, help_text="The tenant's own user.")
    is_test = models.BooleanField(default=False, help_text="Of a test key: counts for nothing.")
    reserved_seconds = models.PositiveIntegerField(default=0)
    billed_seconds = models.IntegerField(null=True)
    price_micros = models.BigIntegerField(default=0, help_text="For one second, as it was when the render was made.")
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


class UsageThreshold(models.Model):
    """A tenant has passed a share of what its plan allows in a month. One row each; deliveries are made from them."""

    class Measure(models.TextChoices):
        SECONDS = "seconds"
        SPEND = "spend"

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="usage_thresholds")
    month = models.DateField(help_text="Its first day, UTC.")
    measure = models.CharField(max_length=10, choices=Measure)
    percent = models.PositiveSmallIntegerField()
    used = models.BigIntegerField(help_text="Seconds or micros, when it was passed.")
    allowed = models.BigIntegerField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "month", "measure", "percent"], name="one_row_a_threshold")
        ]

    def __str__(self) -> str:
        return f"{self.tenant}: {self.percent} % of {self.measure} in {self.month:%Y-%m}"


class AuditEntry(models.Model):
    """Who did what, or looked at what, of whom. Only added to."""

    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    api_key = models.ForeignKey(ApiKey, on_delete=models.SET_NULL, null=True, related_name="+")
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, null=True, related_name="audit_entries")
    action = models.CharField(max_length=40)
    target = models.CharField(max_length=80, help_text="What it was done to: kind and id.")
    reason = models.TextField(blank=True)
    details = models.JSONField(default=dict)
    ip_address = models.GenericIPAddressField(null=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        verbose_name_plural = "audit entries"
        indexes = [
            models.Index(fields=["-created_at"], name="newest_audit"),
            models.Index(fields=["tenant", "-created_at"], name="newest_audit_of_tenant"),
            models.Index(fields=["target", "-created_at"], name="newest_audit_of_target"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.target}"
