"""Base classes and display helpers of all admin pages: audit, search by id, buttons, read-only rows, links, money."""

import contextlib
import json
import re
import uuid
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
from accounts.models import ApiKey, Tenant
from accounts.money import format_micros

NOTHING = "-"
KEY_PREFIX = re.compile(r"cf_(live|test)_[0-9A-Za-z]{8}")
START_OF_ID = re.compile(r"[0-9a-f]{8}[0-9a-f-]{0,27}")
QUERY_OF_URL = re.compile(r"(https?://[^\s?'\"<>]+)\?[^\s'\"<>]*")
# Lookups that the filters beside a list and the links of its date hierarchy use.
FILTER_LOOKUPS = {
    "",
    "exact",
    "in",
    "isnull",
    "isempty",
    "gt",
    "gte",
    "lt",
    "lte",
    "year",
    "month",
    "day",
    "id__exact",
    "pk__exact",
}


class SupportAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """The base of all pages: it audits every change, searches by index, and offers actions as buttons.

    In `list_display`, put what staff look for into the first three columns: a phone shows no more without scrolling.
    """

    change_form_template = "admin/change_form_with_buttons.html"
    show_full_result_count = False  # The full count would read the whole table for each filter.
    id_lookups = ["pk"]  # Fields that the search compares with a UUID.
    key_lookup = ""  # Field that the search compares with the prefix of an API key.
    tenant_search = False  # Whether the search also looks into the names of tenants.

    def buttons(self, obj: Any) -> dict[str, str]:
        """Return the actions to offer as buttons on the object's own page: name -> label."""
        return {}

    @admin.display(description="mode", ordering="is_test")
    def key_mode(self, obj: Any) -> str:
        """`live` or `test`, for rows with a field `is_test`."""
        return mode_text(obj.is_test)

    @admin.display(description="id", ordering="pk")
    def short_id(self, obj: Any) -> str:
        return str(obj.pk)[:8]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Allow only the filters that the page offers, and ids.

        Django allows to filter a list by every field of its rows. With it, staff who may see the list could guess
        hidden values letter by letter: a secret, a digest, a body.
        """
        filters: list[Any] = list(self.get_list_filter(request))  # type: ignore[arg-type]
        names = (item[0] if isinstance(item, tuple) else item for item in filters)
        offered = {name if isinstance(name, str) else name.parameter_name for name in names}
        offered |= {"pk", str(self.opts.pk.name), *self.id_lookups, self.date_hierarchy or "pk"}
        parts = lookup.split("__")
        # `a__b__c` may be field `a`, `a__b` or `a__b__c`; the rest is the lookup.
        splits = (("__".join(parts[:number]), "__".join(parts[number:])) for number in range(1, len(parts) + 1))
        return any(field in offered and rest in FILTER_LOOKUPS for field, rest in splits)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        # Ids and prefixes by their index first: Django's `icontains` reads the whole table and casts ids to text.
        term = search_term.strip()
        with contextlib.suppress(ValueError):
            pk = uuid.UUID(term)
            if self.id_lookups:
                return queryset.filter(Q(*((lookup, pk) for lookup in self.id_lookups), _connector=Q.OR)), True
        if self.key_lookup and KEY_PREFIX.fullmatch(term):
            return queryset.filter(**{self.key_lookup: term}), False
        if isinstance(self.opts.pk, UUIDField) and START_OF_ID.fullmatch(term):
            digits = term.replace("-", "")
            ends = [uuid.UUID(digits.ljust(32, digit)) for digit in "0f"]
            matches = queryset.filter(pk__range=ends)
            if matches.exists():
                return matches, False
        rows, may_repeat = super().get_search_results(request, queryset, term)
        if term and self.tenant_search:
            rows |= queryset.filter(tenant__in=list(Tenant.objects.filter(name__icontains=term)[:100]))
        return rows, may_repeat

    def render_change_form(
        self,
        request: HttpRequest,
        context: Any,
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
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

    # Django calls these three for every change that an admin page makes, so the audit log misses none.
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

    def _audit(self, verb: str, request: HttpRequest, obj: Model, message: Any) -> None:
        tenant = obj if isinstance(obj, Tenant) else getattr(obj, "tenant", None)
        action = f"{obj._meta.model_name}.{verb}"
        audit.record(action, obj, request=request, tenant=tenant, details={"message": message})

    def _view_name(self, view: str) -> str:
        return f"admin:{self.opts.app_label}_{self.opts.model_name}_{view}"


class _ReadOnly:
    """Rows that no form changes. The model's view permission decides who may see them."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(_ReadOnly, SupportAdmin):
    """A page of rows that only the service writes."""


class ReadOnlyInline(_ReadOnly, admin.TabularInline):  # type: ignore[type-arg]
    """A table of such rows on the page of another object."""

    extra = 0

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # Django builds a form of the other fields, and refuses there those with editable=False, such as `created_at`.
        return self.fields


def mode_text(is_test: bool) -> str:
    """How every page shows `is_test`: in words, because Django's red cross for False looks like a fault."""
    return ApiKey.Mode.TEST.value if is_test else ApiKey.Mode.LIVE.value


def external_link(url: str | None, text: str = "") -> str:
    """Return a link to a customer's URL; for a URL with a query only its text, without the query.

    A query is often a signature, and anyone who reads it could download the customer's file.
    """
    shown = without_queries(url or "")
    if shown != url or not url.startswith(("http://", "https://", "/")):
        return shown or NOTHING  # A `javascript:` URL must not become a link.
    return format_html('<a href="{}" target="_blank" rel="noopener noreferrer">{}</a>', url, text or url)


def without_queries(text: str) -> str:
    """Return the text with the query of each URL in it replaced by `...`."""
    return QUERY_OF_URL.sub(r"\1?...", text)


def object_link(obj: Model | None, text: str = "") -> str:
    """Return a link to the object's own page."""
    if obj is None:
        return NOTHING
    url = reverse(f"admin:{obj._meta.app_label}_{obj._meta.model_name}_change", args=[obj.pk])
    return format_html('<a href="{}">{}</a>', url, text or str(obj))


def preformatted(value: object) -> str:
    """Show text, or anything else as JSON, with its line breaks."""
    if not value:
        return NOTHING
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    style = "margin: 0; white-space: pre-wrap; overflow-wrap: anywhere"
    return format_html('<pre style="{}">{}</pre>', style, text)


def money(micros: int | None, currency: str) -> str:
    return NOTHING if micros is None else format_micros(micros, currency)
