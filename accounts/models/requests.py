"""Records of requests: counts per minute, failed log-ins, and the responses kept for `Idempotency-Key`."""

from django.db import models
from django.db.models.functions import Now

from accounts.models.tenants import Tenant


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
    """Wrong passwords for one account from one address, counted from `started_at`.

    Written by `accounts.staff.login_limits` alone.
    """

    account = models.CharField(max_length=64, help_text="SHA-256 of the user name that was entered.")
    address = models.CharField(
        max_length=45, help_text="The client's IPv4 address, or the /64 network of its IPv6 address."
    )
    started_at = models.DateTimeField()
    failures = models.PositiveIntegerField()
    succeeded_at = models.DateTimeField(
        null=True, help_text="Time of the last successful log-in to the account from this address."
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "address"], name="one_row_an_account_and_address")]
        indexes = [
            models.Index(fields=["address", "started_at"], name="failed_logins_of_address"),
            models.Index(fields=["started_at"], name="oldest_failed_logins"),
        ]

    def __str__(self) -> str:
        return f"{self.address}: {self.failures}"


class IdempotentResponse(models.Model):
    """The response to the first request with an Idempotency-Key. Written by `accounts.api.idempotency` alone."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="+")
    route = models.CharField(
        max_length=200,
        help_text="HTTP method and route. The API key is not part of it, because it may be rotated between tries.",
    )
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of the request.")
    status = models.PositiveSmallIntegerField()
    headers = models.JSONField(default=dict)
    body = models.JSONField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "route", "key"], name="one_response_a_key")]
        indexes = [models.Index(fields=["created_at"], name="oldest_responses")]

    def __str__(self) -> str:
        return f"{self.route} {self.key}"
