"""Admin pages of tenants, plans and members, and a tenant's statements."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.forms.fields import InvalidJSONInput
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html_join

from accounts import audit, prices
from accounts.admin.api_keys import ApiKeyInline
from accounts.admin.base import NOTHING, SupportAdmin, money
from accounts.billing import quota, statements
from accounts.models import Membership, Plan, Tenant, UsageEntry
from accounts.periods import parse_month


class PricesField(forms.JSONField):
    """JSON that is nested too deeply is an error in the form; Django raises RecursionError."""

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except RecursionError:
            raise ValidationError("This is nested too deeply.", code="invalid") from None

    def bound_data(self, data: Any, initial: Any) -> Any:
        try:
            return super().bound_data(data, initial)
        except RecursionError:
            return InvalidJSONInput(data)


class PlanForm(forms.ModelForm):  # type: ignore[type-arg]
    # The queue's fair share divides by the weight: 0 would stop the queue for every tenant.
    weight = forms.IntegerField(min_value=1, initial=1, help_text=Plan._meta.get_field("weight").help_text)
    prices = PricesField(required=False, help_text=Plan._meta.get_field("prices").help_text)

    def clean_prices(self) -> object:
        value = self.cleaned_data["prices"]
        return {} if value is None else value  # `Plan.clean` checks the content.


@admin.register(Plan)
class PlanAdmin(SupportAdmin):
    form = PlanForm
    list_display = [
        "name",
        "is_priced",
        "spend_cap",
        "monthly_seconds",
        "max_concurrent",
        "max_queued",
        "weight",
        "retention_days",
    ]
    list_filter = ["currency"]
    search_fields = ["name"]
    ordering = ["name"]

    @admin.display(ordering="spend_cap_micros")
    def spend_cap(self, plan: Plan) -> str:
        return money(plan.spend_cap_micros, plan.currency)

    @admin.display(boolean=True, description="all prices")
    def is_priced(self, plan: Plan) -> bool:
        """If not, some renders are refused with `price_missing`."""
        return not prices.missing(plan)


class MembershipInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Membership
    autocomplete_fields = ["user"]
    extra = 0


@admin.register(Tenant)
class TenantAdmin(SupportAdmin):
    list_display = ["name", "status", "plan", "suspended_at", "created_at"]
    list_filter = ["plan", ("suspended_at", admin.EmptyFieldListFilter)]
    list_select_related = ["plan"]
    search_fields = ["name"]
    date_hierarchy = "created_at"
    ordering = ["-created_at"]
    readonly_fields = ["id", "seconds_left", "statement_links", "suspended_at", "created_at"]
    inlines = [ApiKeyInline, MembershipInline]
    actions = ["suspend", "resume"]

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view(self.statement_view)
        return [
            path("<uuid:tenant_id>/statement/<str:month>/", page, name="accounts_tenant_statement"),
            *super().get_urls(),
        ]

    def statement_view(self, request: HttpRequest, tenant_id: UUID, month: str) -> HttpResponse:
        if not request.user.has_perm("accounts.view_usageentry"):
            raise PermissionDenied
        tenant = get_object_or_404(Tenant.objects.select_related("plan"), pk=tenant_id)
        try:
            first = parse_month(month)
        except ValueError:
            raise Http404 from None
        audit.record("statement.view", tenant, request=request, tenant=tenant, details={"month": month})
        return HttpResponse(statements.as_html(statements.make(tenant, first, is_test=False)))

    @admin.display(description="statements")
    def statement_links(self, tenant: Tenant) -> str:
        """The last twelve months with usage."""
        months = UsageEntry.objects.filter(tenant=tenant).dates("created_at", "month", order="DESC")[:12]
        links = [
            (reverse("admin:accounts_tenant_statement", args=[tenant.pk, f"{month:%Y-%m}"]), f"{month:%Y-%m}")
            for month in months
        ]
        return format_html_join(", ", '<a href="{}" target="_blank">{}</a>', links) or NOTHING

    def get_inlines(self, request: HttpRequest, obj: Tenant | None) -> list[Any]:
        return [MembershipInline] if obj is None else self.inlines  # A new tenant has no keys to show.

    def has_delete_permission(self, request: HttpRequest, obj: Tenant | None = None) -> bool:
        return False  # Its keys would be deleted with it. Staff suspend it instead.

    def buttons(self, obj: Tenant) -> dict[str, str]:
        return {"suspend": "Suspend"} if obj.suspended_at is None else {"resume": "Lift the suspension"}

    @admin.display(ordering="suspended_at")
    def status(self, tenant: Tenant) -> str:
        return "active" if tenant.suspended_at is None else "suspended"

    @admin.display(description="seconds left this month")
    def seconds_left(self, tenant: Tenant) -> str:
        return NOTHING if tenant._state.adding else str(quota.seconds_available(tenant))

    @admin.action(
        description="Suspend selected tenants: their keys are refused, what waits is still rendered",
        permissions=["change"],
    )
    def suspend(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> None:
        for tenant in queryset.filter(suspended_at=None):
            Tenant.objects.filter(pk=tenant.pk, suspended_at=None).update(suspended_at=Now())
            self.log_change(request, tenant, "Suspended.")
            self.message_user(request, f"Tenant {tenant} is suspended.", messages.SUCCESS)

    @admin.action(description="Lift the suspension of selected tenants", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> None:
        for tenant in queryset.exclude(suspended_at=None):
            Tenant.objects.filter(pk=tenant.pk).update(suspended_at=None)
            self.log_change(request, tenant, "Suspension lifted.")
            self.message_user(request, f"Tenant {tenant} is active again.", messages.SUCCESS)


@admin.register(Membership)
class MembershipAdmin(SupportAdmin):
    list_display = ["user", "tenant", "role"]
    list_filter = ["role", "tenant"]
    list_select_related = ["tenant", "user"]
    search_fields = ["user__username", "user__email", "tenant__name"]
    id_lookups = ["tenant"]
    autocomplete_fields = ["tenant", "user"]
    ordering = ["-pk"]
