"""Admin page of usage: holds, charges and adjustments. Staff credit a tenant on a project's page."""

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html

from accounts.admin.base import NOTHING, ReadOnlyAdmin, money
from accounts.models import UsageEntry


@admin.register(UsageEntry)
class UsageEntryAdmin(ReadOnlyAdmin):
    list_display = ["created_at", "kind", "amount", "tenant", "api_key", "engine", "reserved", "billed", "render"]
    list_filter = ["created_at", ("billed_seconds", admin.EmptyFieldListFilter), "engine", "currency", "tenant"]
    list_select_related = ["tenant", "api_key"]
    search_fields = ["reason", "user_label"]
    id_lookups = ["render_id", "tenant", "api_key"]
    key_lookup = "api_key__prefix"
    tenant_search = True
    ordering = ["-created_at"]
    fields = [
        "tenant",
        "api_key",
        "key_mode",
        "kind",
        "render",
        "engine",
        "resolution",
        "upscale",
        "reserved_seconds",
        "billed_seconds",
        "price",
        "amount",
        "gpu_seconds",
        "cost",
        "reason",
        "author",
        "created_at",
        "settled_at",
    ]

    @admin.display
    def kind(self, entry: UsageEntry) -> str:
        return entry.kind.value

    @admin.display(description="reserved s", ordering="reserved_seconds")
    def reserved(self, entry: UsageEntry) -> int:
        return entry.reserved_seconds

    @admin.display(description="billed s", ordering="billed_seconds")
    def billed(self, entry: UsageEntry) -> int | None:
        return entry.billed_seconds

    @admin.display(ordering="amount_micros")
    def amount(self, entry: UsageEntry) -> str:
        return money(entry.amount_micros, entry.currency)

    @admin.display(description="price of one second")
    def price(self, entry: UsageEntry) -> str:
        return money(entry.price_micros, entry.currency)

    @admin.display(description="our cost")
    def cost(self, entry: UsageEntry) -> str:
        return money(entry.cost_micros, entry.currency)

    @admin.display
    def render(self, entry: UsageEntry) -> str:
        if entry.render_id is None:
            return NOTHING
        # By the page's name: `accounts` does not import `render`.
        url = reverse("admin:render_render_change", args=[entry.render_id])
        return format_html('<a href="{}">{}</a>', url, str(entry.render_id)[:8])
