"""The audit log."""

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from accounts.models.api_keys import ApiKey
from accounts.models.tenants import Tenant


class AuditEntry(models.Model):
    """One action, or one look at private data: who, what and when. Rows are only added, by `accounts.audit` alone."""

    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    api_key = models.ForeignKey(ApiKey, on_delete=models.SET_NULL, null=True, related_name="+")
    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, null=True, related_name="audit_entries")
    action = models.CharField(max_length=40)
    target = models.CharField(max_length=80, help_text="Kind and id of the row that was changed or viewed.")
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
