"""A tenant's uploads, spoken scripts and avatars, for support staff."""

from django.contrib import admin
from django.template.defaultfilters import filesizeformat

from accounts.admin.base import ReadOnlyAdmin, external_link, object_link, preformatted
from projects.assets.source_urls import REFERENCE
from projects.models import Asset, Avatar


@admin.register(Asset)
class AssetAdmin(ReadOnlyAdmin):
    list_display = ["short_id", "tenant", "filename", "kind", "size", "state", "error_code", "created_at"]
    list_filter = ["state", "kind", "origin", "is_test"]
    list_select_related = ["tenant"]
    search_fields = ["=sha256", "filename"]
    id_lookups = ["pk", "tenant"]
    tenant_search = True
    ordering = ["-created_at"]
    fields = [
        "tenant",
        "origin",
        "key_mode",
        "filename",
        "content_type",
        "size",
        "sha256",
        "key",
        "state",
        "kind",
        "facts_text",
        "error_code",
        "error_message",
        "checks",
        "put_offs",
        "storage_failures",
        "being_checked",
        "created_at",
        "uploaded_at",
        "expires_at",
        "check_after",
        "deleted_at",
    ]

    @admin.display(ordering="num_bytes")
    def size(self, asset: Asset) -> str:
        return filesizeformat(asset.num_bytes)

    @admin.display(description="facts")
    def facts_text(self, asset: Asset) -> str:
        return preformatted(asset.facts)


@admin.register(Avatar)
class AvatarAdmin(ReadOnlyAdmin):
    list_display = ["short_id", "tenant", "name", "image", "key_mode", "created_at"]
    list_select_related = ["tenant", "asset"]
    search_fields = ["name"]
    id_lookups = ["pk", "tenant", "asset"]
    tenant_search = True
    ordering = ["-created_at"]
    fields = ["tenant", "name", "image", "key_mode", "created_at"]

    @admin.display
    def image(self, avatar: Avatar) -> str:
        return object_link(avatar.asset)


def source_link(text: str | None) -> str:
    """A link to where a project's source is: at an address, or among the tenant's own files."""
    if not text or not REFERENCE.fullmatch(text):
        return external_link(text)
    kind, _, object_id = text.partition(":")
    model = Avatar if kind.lower() == "avatar" else Asset
    return object_link(model.objects.filter(pk=object_id).first(), text)
