"""Admin page of the audit log."""

from django.contrib import admin

from accounts.admin.base import NOTHING, ReadOnlyAdmin, preformatted
from accounts.models import AuditEntry


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "who", "action", "target", "tenant", "reason", "ip_address"]
    list_filter = ["action", "tenant"]
    list_select_related = ["actor", "api_key", "tenant"]
    search_fields = ["target", "actor__username", "api_key__prefix", "tenant__name", "reason"]
    id_lookups = ["tenant"]
    date_hierarchy = "created_at"
    ordering = ["-created_at"]
    fields = ["created_at", "who", "action", "target", "tenant", "reason", "formatted_details", "ip_address"]

    @admin.display
    def who(self, entry: AuditEntry) -> str:
        return str(entry.actor or entry.api_key or NOTHING)

    @admin.display(description="details")
    def formatted_details(self, entry: AuditEntry) -> str:
        return preformatted(entry.details)
