"""Admin pages of API keys. The plain key is shown once, to the person who makes it."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html

from accounts import networks
from accounts.admin.base import ReadOnlyInline, SupportAdmin
from accounts.api_keys import keys
from accounts.models import ApiKey, Scope, default_scopes


class ApiKeyInline(ReadOnlyInline):
    """The tenant's usable keys. The expired and revoked ones may be many; the list of keys has them."""

    model = ApiKey
    verbose_name_plural = "usable API keys"
    fields = ["prefix", "name", "mode", "expires_at", "revoked_at", "last_used_at", "created_at"]
    ordering = ["-created_at"]
    show_change_link = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        rows: QuerySet[ApiKey] = super().get_queryset(request)
        return rows.filter(keys.USABLE)


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in Scope.values],
        initial=default_scopes,
        widget=forms.CheckboxSelectMultiple,
    )

    def clean_allowed_ips(self) -> list[str]:
        try:
            return [str(networks.parse_network(network)) for network in self.cleaned_data["allowed_ips"]]
        except ValueError as error:
            raise forms.ValidationError(f"Not a network: {error}") from error


@admin.register(ApiKey)
class ApiKeyAdmin(SupportAdmin):
    form = ApiKeyForm
    list_display = ["prefix", "status", "mode", "tenant", "name", "last_used_at", "created_at"]
    list_filter = ["mode", ("revoked_at", admin.EmptyFieldListFilter), "tenant"]
    list_select_related = ["tenant"]
    search_fields = ["prefix", "name", "tenant__name"]
    id_lookups = ["pk", "tenant"]
    date_hierarchy = "created_at"
    ordering = ["-created_at"]
    autocomplete_fields = ["tenant"]
    actions = ["revoke"]

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False  # Usage and projects refer to it. Staff revoke it instead.

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[Any]:
        form_fields = ["tenant", "name", "mode", "scopes", "allowed_ips", "legacy_200", "expires_at"]
        if obj is None:
            return form_fields
        return ["prefix", "status", *form_fields, "rotated_from", "revoked_at", "last_used_at", "created_at"]

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        # The mode is part of the key itself. With another tenant, the key would open that tenant's projects.
        fixed = [] if obj is None else ["tenant", "mode"]
        return [*fixed, "prefix", "status", "rotated_from", "revoked_at", "last_used_at", "created_at"]

    def buttons(self, obj: ApiKey) -> dict[str, str]:
        return {"revoke": "Revoke"} if obj.revoked_at is None else {}

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            changed = list(form.changed_data)
            if "expires_at" in changed:  # Staff set the key's own expiry, see `ApiKey.own_expiry`.
                obj.expiry_before_rotation = obj.expires_at
                changed.append("expiry_before_rotation")
            obj.save(update_fields=changed)
            return
        key, plain = keys.issue(
            obj.tenant,
            name=obj.name,
            mode=obj.mode,
            scopes=obj.scopes,
            expires_at=obj.expires_at,
            allowed_ips=obj.allowed_ips,
            legacy_200=obj.legacy_200,
        )
        obj.pk = key.pk
        obj.refresh_from_db()  # Django goes on with `obj`, which is the unsaved object of the form.
        text = "The key is shown only now and stored nowhere. Copy it: {}"
        code = format_html('<code style="user-select: all; overflow-wrap: anywhere">{}</code>', plain)
        self.message_user(request, format_html(text, code), messages.WARNING)

    @admin.display
    def status(self, key: ApiKey) -> str:
        if key.revoked_at is not None:
            return "revoked"
        return "expired" if key.expires_at is not None and key.expires_at <= timezone.now() else "usable"

    @admin.action(description="Revoke selected API keys", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for key in queryset.filter(revoked_at=None):
            keys.revoke(key)
            self.log_change(request, key, "Revoked.")
            self.message_user(request, f"Key {key} is revoked.", messages.SUCCESS)
