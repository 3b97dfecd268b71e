"""The roles of support staff, as groups of the admin. Every `migrate` creates them and sets their permissions."""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import Group, Permission

VIEW = [
    "accounts.view_tenant",
    "accounts.view_plan",
    "accounts.view_apikey",
    "accounts.view_membership",
    "accounts.view_usageentry",
    "accounts.view_usagethreshold",
    "projects.view_project",
    "projects.view_take",
    "projects.view_asset",
    "projects.view_avatar",
    "projects.view_deletion",
    "projects.view_webhookendpoint",
    "projects.view_webhookdelivery",
    "projects.view_webhookevent",
    "projects.view_retentionfailure",
    "render.view_render",
    "render.view_attempt",
    "render.view_segment",
    "render.view_node",
]
AGENT = [*VIEW, "render.view_media", "projects.cancel_project", "projects.retry_project", "render.change_render"]
BILLING = [*VIEW, "accounts.credit_tenant", "accounts.view_report"]
ADMIN = [
    *AGENT,
    *BILLING,
    "accounts.add_tenant",
    "accounts.change_tenant",
    "accounts.add_plan",
    "accounts.change_plan",
    "accounts.add_apikey",
    "accounts.change_apikey",
    "accounts.add_membership",
    "accounts.change_membership",
    "accounts.delete_membership",
    "accounts.view_auditentry",
    "render.change_node",
    "auth.view_user",
    "auth.add_user",
    "auth.change_user",
    "auth.view_group",
    "django_q.view_ormq",
    "django_q.view_success",
    "django_q.view_failure",
    "django_q.view_schedule",
]
# An agent helps with renders, and may credit a tenant for a bad one. An admin manages tenants, keys and staff.
ROLES: dict[str, list[str]] = {
    "Viewer": VIEW,
    "Agent": [*AGENT, "accounts.credit_tenant"],
    "Billing": BILLING,
    "Admin": ADMIN,
}


def sync(**_: Any) -> None:
    """Receives `post_migrate` of the last app that has models: all permissions exist then."""
    for name, permission_names in ROLES.items():
        group, _created = Group.objects.get_or_create(name=name)
        group.permissions.set(_permissions(permission_names))


def _permissions(names: Iterable[str]) -> list[Permission]:
    known = {
        f"{permission.content_type.app_label}.{permission.codename}": permission
        for permission in Permission.objects.select_related("content_type")
    }
    missing = sorted(set(names) - known.keys())
    if missing:
        raise LookupError(f"There are no such permissions: {', '.join(missing)}")
    return [known[name] for name in set(names)]
