"""API keys and their scopes."""

import uuid
from datetime import datetime

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models.tenants import Tenant


class Scope(models.TextChoices):
    """What an API key may do. Each endpoint requires one of them."""

    PROJECTS_READ = "projects:read"
    PROJECTS_WRITE = "projects:write"
    UPLOADS_WRITE = "uploads:write"
    USAGE_READ = "usage:read"
    WEBHOOKS_WRITE = "webhooks:write"
    KEYS_ADMIN = "keys:admin"


def default_scopes() -> list[str]:
    return [Scope.PROJECTS_READ, Scope.PROJECTS_WRITE, Scope.UPLOADS_WRITE, Scope.USAGE_READ]


class ApiKey(models.Model):
    """A credential of a tenant. `prefix` finds the row; `digest`, the SHA-256 of the whole key, proves the key.

    The key itself is shown once, when it is issued, and never stored.
    """

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
        help_text="Networks (CIDR) from which the key may be used. Empty: from anywhere.",
    )
    rotated_from = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="rotated_to"
    )
    legacy_200 = models.BooleanField(
        default=False, help_text="Answer POST /projects with status 200, as the service before this one did."
    )
    expires_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="From this time the key is refused. A rotation may have moved it to an earlier time.",
    )
    # A rotation moves `expires_at` to the end of the overlap. The key's own expiry must stay known, because it limits
    # the expiry of the keys that this key makes.
    rotated_at = models.DateTimeField(null=True, editable=False, help_text="Time of the first rotation.")
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
        """When the key expires, or would expire had it not been rotated. None: never."""
        return self.expires_at if self.rotated_at is None else self.expiry_before_rotation

    @property
    def is_usable(self) -> bool:
        """Neither revoked nor expired. In queries: `accounts.api_keys.keys.USABLE`."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > timezone.now())
