"""What each role of support staff may do, page by page and deed by deed."""

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from accounts.models import AuditEntry, UsageEntry
from creatorify import staff_roles
from render.machine import nodes
from tests.projects.steps import create, finished_project, latest_render

# Role -> V viewer, A agent, B billing, D admin, N: staff without a role.
ROLES = {"V": "Viewer", "A": "Agent", "B": "Billing", "D": "Admin", "N": None}
MATRIX = {
    "see projects": "VABD",
    "see usage": "VABD",
    "see operations": "VABD",
    "see a statement": "VABD",
    "see the report": "BD",
    "see the audit log": "D",
    "see the queue's tables": "D",
    "look at media": "AD",
    "cancel": "AD",
    "retry": "AD",
    "credit": "ABD",
    "drain a node": "D",
    "suspend a tenant": "D",
    "revoke a key": "D",
    "change a plan": "D",
    "make a user": "D",
}


@pytest.fixture
def clients(db) -> dict[str, Client]:
    found = {}
    for letter, role in ROLES.items():
        user = User.objects.create_user(f"user-{letter}", is_staff=True)
        if role:
            user.groups.add(Group.objects.get(name=role))
        found[letter] = Client()
        found[letter].force_login(user)
    return found


@pytest.fixture
def attempts(alice, plan):
    """Name -> does it with a client and tells whether it was done."""
    project = finished_project(alice)
    render = latest_render(project["id"])
    node = nodes.heartbeat("gpu")

    def sees(url: str):
        return lambda client: client.get(url).status_code == 200

    def acts(url: str, action: str, row):
        def act(client: Client) -> bool:
            before = AuditEntry.objects.count()
            client.post(url, {"action": action, "_selected_action": [row.pk]})
            return AuditEntry.objects.count() == before + 1

        return act

    def does(name: str, **fields):
        def deed(client: Client) -> bool:
            project = create(alice)
            target = project["id"]
            if name == "retry":
                alice.post(project["urls"]["cancel"])
            answer = client.post(f"/admin/projects/project/{target}/{name}/do/", {"reason": "Asked for.", **fields})
            return answer.status_code == 302

        return deed

    def changes_plan(client: Client) -> bool:
        page = client.get(f"/admin/accounts/plan/{plan.pk}/change/")
        return page.status_code == 200 and b'name="_save"' in page.content

    def suspends(client: Client) -> bool:
        type(alice.tenant).objects.update(suspended_at=None)
        done = acts("/admin/accounts/tenant/", "suspend", alice.tenant)(client)
        type(alice.tenant).objects.update(suspended_at=None)
        return done

    def revokes(client: Client) -> bool:
        done = acts("/admin/accounts/apikey/", "revoke", alice.key)(client)
        type(alice.key).objects.update(revoked_at=None)
        return done

    def drains(client: Client) -> bool:
        done = acts("/admin/render/node/", "drain", node)(client)
        type(node).objects.update(draining=False)
        return done

    return {
        "see projects": sees(f"/admin/projects/project/{project['id']}/change/"),
        "see usage": sees(f"/admin/accounts/usageentry/{UsageEntry.objects.get().pk}/change/"),
        "see operations": sees("/admin/operations/"),
        "see a statement": sees(f"/admin/accounts/tenant/{alice.tenant.pk}/statement/2026-05/"),
        "see the report": sees("/admin/report/"),
        "see the audit log": sees("/admin/accounts/auditentry/"),
        "see the queue's tables": sees("/admin/django_q/ormq/"),
        "look at media": lambda client: (
            client.get(f"/admin/render/render/{render.pk}/media/video/").status_code == 302
            and AuditEntry.objects.filter(action="media.view").exists()
        ),
        "cancel": does("cancel"),
        "retry": does("retry"),
        "credit": does("credit", seconds=1, amount=0),
        "drain a node": drains,
        "suspend a tenant": suspends,
        "revoke a key": revokes,
        "change a plan": changes_plan,
        "make a user": sees("/admin/auth/user/add/"),
    }


def test_each_role_may_do_what_the_table_says(clients, attempts):
    done = {what: {letter for letter, client in clients.items() if attempts[what](client)} for what in MATRIX}

    assert done == {what: set(letters) for what, letters in MATRIX.items()}


def test_the_groups_are_made_by_migrating_and_kept_as_they_are(db):
    assert set(Group.objects.values_list("name", flat=True)) == set(staff_roles.ROLES)
    agent = Group.objects.get(name="Agent")
    agent.permissions.clear()

    staff_roles.sync()

    names = {f"{perm.content_type.app_label}.{perm.codename}" for perm in agent.permissions.all()}
    assert names == set(staff_roles.ROLES["Agent"])
