"""The roles of support staff, as groups: made and kept up to date whenever the database is migrated."""

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import Group, Permission

SEEN = [
    *("accounts.tenant", "accounts.plan", "accounts.apikey", "accounts.membership", "accounts.usageentry"),
    *("accounts.usagethreshold", "projects.project", "projects.take", "projects.asset", "projects.avatar"),
    *("projects.deletion", "projects.webhookendpoint", "projects.webhookdelivery"),
    *("projects.webhookevent", "projects.retentionfailure"),
    *("render.render", "render.attempt", "render.segment", "render.node"),
]
VIEW = [f"{app}.view_{model}" for app, model in (name.split(".") for name in SEEN)]
AGENT = [*VIEW, "render.view_media", "projects.cancel_project", "projects.retry_project", "render.change_render"]
BILLING = [*VIEW, "accounts.credit_tenant", "accounts.view_report"]
ADMIN = [
    *AGENT,
    *BILLING,
    *("accounts.add_tenant", "accounts.change_tenant", "accounts.add_plan", "accounts.change_plan"),
    *("accounts.add_apikey", "accounts.change_apikey", "accounts.add_membership", "accounts.change_membership"),
    *("accounts.delete_membership", "accounts.view_auditentry", "render.change_node"),
    *("auth.view_user", "auth.add_user", "auth.change_user", "auth.view_group"),
    *("django_q.view_ormq", "django_q.view_success", "django_q.view_failure", "django_q.view_schedule"),
]
# An agent helps with renders, and may give a tenant back what a bad one has cost; an admin runs the desk.
ROLES: dict[str, list[str]] = {
    "Viewer": VIEW,
    "Agent": [*AGENT, "accounts.credit_tenant"],
    "Billing": BILLING,
    "Admin": ADMIN,
}


def sync(**_: Any) -> None:
    """For `post_migrate` of the last app, when all permissions are there."""
    for name, wanted in ROLES.items():
        group, _made = Group.objects.get_or_create(name=name)
        group.permissions.set(_permissions(wanted))


def _permissions(names: Iterable[str]) -> list[Permission]:
    known = {
        f"{permission.content_type.app_label}.{permission.codename}": permission
        for permission in Permission.objects.select_related("content_type")
    }
    missing = sorted(set(names) - known.keys())
    if missing:
        raise LookupError(f"There are no such permissions: {', '.join(missing)}")
    return [known[name] for name in set(names)]
