"""Admin pages of staff accounts and their groups.

An editor who is not a superuser cannot grant permissions that they lack, and cannot change or delete an account or a
group that has such permissions.
"""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin  # Registers Django's own pages, which are removed below.
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

from accounts.admin.base import SupportAdmin

admin.site.unregister(User)
admin.site.unregister(Group)


def permissions_of(user: User) -> QuerySet[Permission]:
    """Return the account's own permissions and those of its groups.

    Unlike `User.get_all_permissions` also for a deactivated account, because it can be activated again.
    """
    return Permission.objects.filter(Q(user=user) | Q(group__user=user))


def exceeds(permissions: QuerySet[Permission], editor: User) -> bool:
    """Whether the editor lacks one of the permissions."""
    return permissions.exclude(pk__in=permissions_of(editor).values("pk")).exists()


class _WithinOwnPermissions(SupportAdmin):
    id_lookups = []

    def exceeds_editor(self, editor: User, obj: Any) -> bool:
        """Whether the object has a permission that the editor lacks."""
        raise NotImplementedError

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return super().has_change_permission(request, obj) and self._is_within(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        # Django's action that deletes rows of a list calls this for each row.
        return super().has_delete_permission(request, obj) and self._is_within(request, obj)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest | None, **kwargs: Any) -> Any:
        """Offer and accept only permissions that the editor has, and groups with no others."""
        assert request is not None
        assert isinstance(request.user, User)
        if not request.user.is_superuser:
            own = permissions_of(request.user).values("pk")
            other = Permission.objects.exclude(pk__in=own)
            kwargs["queryset"] = {
                "groups": Group.objects.exclude(permissions__in=other),
                "permissions": Permission.objects.filter(pk__in=own),
                "user_permissions": Permission.objects.filter(pk__in=own),
            }[db_field.name]
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def _is_within(self, request: HttpRequest, obj: Model | None) -> bool:
        assert isinstance(request.user, User)
        return obj is None or request.user.is_superuser or not self.exceeds_editor(request.user, obj)


@admin.register(User)
class StaffUserAdmin(_WithinOwnPermissions, UserAdmin):  # type: ignore[type-arg]
    def exceeds_editor(self, editor: User, obj: User) -> bool:
        return obj.is_superuser or exceeds(permissions_of(obj), editor)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        fixed = ["last_login", "date_joined"]
        return fixed if request.user.is_superuser else [*fixed, "is_superuser"]

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return fieldsets
        # Django shows part of the password's hash there, and a link to the form that sets another password.
        return [
            (title, {**options, "fields": [name for name in options["fields"] if name != "password"]})
            for title, options in fieldsets
        ]


@admin.register(Group)
class StaffGroupAdmin(_WithinOwnPermissions, GroupAdmin):  # type: ignore[misc]
    def exceeds_editor(self, editor: User, obj: Group) -> bool:
        return exceeds(obj.permissions.all(), editor)
