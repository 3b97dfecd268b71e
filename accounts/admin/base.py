"""What the admin pages of all apps share: rows nobody may write by form, search by id, actions as buttons, links."""

import contextlib
import json
import re
import uuid
from decimal import Decimal
from typing import Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import quote
from django.db.models import Model, Q, QuerySet, UUIDField
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html

from accounts import audit
from accounts.models import Tenant

NOTHING = "-"
KEY_PREFIX = re.compile(r"cf_(live|test)_[0-9A-Za-z]{8}")
START_OF_ID = re.compile(r"[0-9a-f]{8}[0-9a-f-]{0,27}")
QUERY_OF_URL = re.compile(r"(https?://[^\s?'\"<>]+)\?[^\s'\"<>]*")
# How the filters beside a list, and the links of its dates, ask for a field.
FILTERED_BY = {
    *("", "exact", "in", "isnull", "isempty", "gt", "gte", "lt", "lte", "year", "month", "day"),
    *("id__exact", "pk__exact"),
}


class SupportAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    change_form_template = "admin/change_form_with_buttons.html"
    show_full_result_count = False  # It counts the whole table each time somebody filters.
    id_lookups = ["pk"]  # Where a UUID given to the search is looked up.
    key_lookup = ""  # and where the prefix of an API key
    tenant_search = False  # Words are also looked up in the names of tenants.

    def buttons(self, obj: Any) -> dict[str, str]:
        """Actions to offer on the object's own page, where a search leads: name and label."""
        return {}

    @admin.display(description="id", ordering="pk")
    def short_id(self, obj: Any) -> str:
        return str(obj.pk)[:8]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Only what the page offers, and ids. Django itself lets a list be filtered by every field of its rows.

        So whoever may see the list could find out, letter by letter, what is not shown: a secret, a digest, a body.
        """
        filters: list[Any] = list(self.get_list_filter(request))  # type: ignore[arg-type]
        names = (item[0] if isinstance(item, tuple) else item for item in filters)
        offered = {name if isinstance(name, str) else name.parameter_name for name in names}
        offered |= {"pk", str(self.opts.pk.name), *self.id_lookups, self.date_hierarchy or "pk"}
        parts = lookup.split("__")
        # Every way to split it into a field and how it is asked for.
        ways = (("__".join(parts[:number]), "__".join(parts[number:])) for number in range(1, len(parts) + 1))
        return any(field in offered and how in FILTERED_BY for field, how in ways)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        # By index what has an index: `icontains` reads the whole table, and casts ids to text.
        term = search_term.strip()
        with contextlib.suppress(ValueError):
            wanted = uuid.UUID(term)
            if self.id_lookups:
                return queryset.filter(Q(*((lookup, wanted) for lookup in self.id_lookups), _connector=Q.OR)), True
        if self.key_lookup and KEY_PREFIX.fullmatch(term):
            return queryset.filter(**{self.key_lookup: term}), False
        if isinstance(self.opts.pk, UUIDField) and START_OF_ID.fullmatch(term):
            digits = term.replace("-", "")
            ends = [uuid.UUID(digits.ljust(32, digit)) for digit in "0f"]
            if (started := queryset.filter(pk__range=ends)).exists():
                return started, False
        found, may_repeat = super().get_search_results(request, queryset, term)
        if term and self.tenant_search:
            found |= queryset.filter(tenant__in=list(Tenant.objects.filter(name__icontains=term)[:100]))
        return found, may_repeat

    def render_change_form(
        self, request: HttpRequest, context: Any, add: bool = False, change: bool = False,
        form_url: str = "", obj: Any = None,
    ) -> HttpResponse:  # fmt: skip
        if obj is not None:
            allowed = self.get_actions(request)
            context["buttons"] = {name: label for name, label in self.buttons(obj).items() if name in allowed}
            context["actions_url"] = reverse(self._view_name("changelist"))
        return super().render_change_form(request, context, add, change, form_url, obj)

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *args: Any) -> HttpResponse | None:
        response = super().response_action(request, queryset, *args)
        if "from_change_form" in request.POST:
            return redirect(self._view_name("change"), quote(request.POST[ACTION_CHECKBOX_NAME]))
        return response

    # Whatever an admin page does it logs by these three, so that nothing can be left out of the audit.
    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        self._audit("add", request, obj, message)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        self._audit("change", request, obj, message)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        for obj in queryset:
            self._audit("delete", request, obj, str(obj))
        return super().log_deletions(request, queryset)

    def _audit(self, deed: str, request: HttpRequest, obj: Model, message: Any) -> None:
        tenant = obj if isinstance(obj, Tenant) else getattr(obj, "tenant", None)
        action = f"{obj._meta.model_name}.{deed}"
        audit.record(action, obj, request=request, tenant=tenant, details={"message": message})

    def _view_name(self, view: str) -> str:
        return f"admin:{self.opts.app_label}_{self.opts.model_name}_{view}"


class _ReadOnly:
    """Rows that only code writes. Who may see them is a matter of the model's view permission."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(_ReadOnly, SupportAdmin):
    pass


class ReadOnlyInline(_ReadOnly, admin.TabularInline):  # type: ignore[type-arg]
    extra = 0

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # Said explicitly, because a form refuses the fields that no form may edit, like `created_at`.
        return self.fields


def external_link(url: str | None, text: str = "") -> str:
    """A link to an address that a customer gave; only its text, without the query, if there is one.

    A query is often a signature, with which whoever reads it gets the customer's file.
    """
    shown = without_queries(url or "")
    if shown != url or not url.startswith(("http://", "https://", "/")):
        return shown or NOTHING  # A `javascript:` address must not become clickable.
    return format_html('<a href="{}" target="_blank" rel="noopener noreferrer">{}</a>', url, text or url)


def without_queries(text: str) -> str:
    """The text without what stands behind the ? of the addresses in it."""
    return QUERY_OF_URL.sub(r"\1?...", text)


def object_link(obj: Model | None, text: str = "") -> str:
    if obj is None:
        return NOTHING
    url = reverse(f"admin:{obj._meta.app_label}_{obj._meta.model_name}_change", args=[obj.pk])
    return format_html('<a href="{}">{}</a>', url, text or str(obj))


def preformatted(value: object) -> str:
    if not value:
        return NOTHING
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    style = "margin: 0; white-space: pre-wrap; overflow-wrap: anywhere"
    return format_html('<pre style="{}">{}</pre>', style, text)


def money(micros: int | None, currency: str) -> str:
    return NOTHING if micros is None else f"{Decimal(micros) / 1_000_000:,.4f} {currency}"
