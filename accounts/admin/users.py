"""Accounts and groups of staff.

Who is not a superuser gives away no right that he lacks, and changes nobody who has such a right.
"""

from typing import Any

import django.contrib.auth.admin as of_django  # Registers its own forms, which are taken away below.
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

from accounts.admin.base import SupportAdmin

admin.site.unregister(User)
admin.site.unregister(Group)


def rights_of(user: User) -> QuerySet[Permission]:
    """By itself and by its groups; of a deactivated account too, since it can be activated again."""
    return Permission.objects.filter(Q(user=user) | Q(group__user=user))


def exceeds(rights: QuerySet[Permission], editor: User) -> bool:
    return rights.exclude(pk__in=rights_of(editor).values("pk")).exists()


class _WithinOwnRights(SupportAdmin):
    id_lookups = []

    def is_beyond(self, editor: User, obj: Any) -> bool:
        raise NotImplementedError

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return super().has_change_permission(request, obj) and self._is_within(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        # The action on a list asks for each of its rows.
        return super().has_delete_permission(request, obj) and self._is_within(request, obj)

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest | None, **kwargs: Any) -> Any:
        """Offers, and accepts, only what the editor has."""
        assert request is not None
        assert isinstance(request.user, User)
        if not request.user.is_superuser:
            own = rights_of(request.user).values("pk")
            beyond = Permission.objects.exclude(pk__in=own)
            kwargs["queryset"] = {
                "groups": Group.objects.exclude(permissions__in=beyond),
                "permissions": Permission.objects.filter(pk__in=own),
                "user_permissions": Permission.objects.filter(pk__in=own),
            }[db_field.name]
        return super().formfield_for_manytomany(db_field, request, **kwargs)

    def _is_within(self, request: HttpRequest, obj: Model | None) -> bool:
        assert isinstance(request.user, User)
        return obj is None or request.user.is_superuser or not self.is_beyond(request.user, obj)


@admin.register(User)
class StaffUserAdmin(_WithinOwnRights, of_django.UserAdmin):  # type: ignore[type-arg]
    def is_beyond(self, editor: User, obj: User) -> bool:
        return obj.is_superuser or exceeds(rights_of(obj), editor)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        fixed = ["last_login", "date_joined"]
        return fixed if request.user.is_superuser else [*fixed, "is_superuser"]

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        sets = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return sets
        # What stands there is a part of the hash, and the way to set another.
        return [
            (title, {**options, "fields": [name for name in options["fields"] if name != "password"]})
            for title, options in sets
        ]


@admin.register(Group)
class StaffGroupAdmin(_WithinOwnRights, of_django.GroupAdmin):  # type: ignore[misc]
    def is_beyond(self, editor: User, obj: Group) -> bool:
        return exceeds(obj.permissions.all(), editor)
