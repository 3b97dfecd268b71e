"""Accounts of staff: nobody makes himself or another one more than he is, and nobody takes over whoever is more."""

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session
from django.test import Client

from accounts.models import AuditEntry

USERS, GROUPS = "/admin/auth/user/", "/admin/auth/group/"
NEW_PASSWORD = {"password1": "taken-over-77-Q", "password2": "taken-over-77-Q", "usable_password": "true"}


def permission(name: str) -> Permission:
    app, _, codename = name.partition(".")
    return Permission.objects.get(content_type__app_label=app, codename=codename)


@pytest.fixture
def editor(db, settings) -> User:
    """Of the role Admin, who may also delete accounts and change groups: more than the role may."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    user = User.objects.create_user("editor", password="an editor's own", is_staff=True)
    user.groups.add(Group.objects.get(name="Admin"))
    user.user_permissions.add(*map(permission, ("auth.delete_user", "auth.change_group", "auth.add_group")))
    return user


@pytest.fixture
def browser(editor) -> Client:
    client = Client()
    client.force_login(editor)
    return client


@pytest.fixture(params=["superuser", "inactive superuser", "own permission", "by a group", "inactive by a group"])
def stronger(request, editor) -> User:
    """Somebody with more rights than the editor."""
    more = permission("django_q.change_schedule")
    user = User.objects.create_user(
        "stronger",
        password="the old password",
        is_staff=True,
        is_superuser="superuser" in request.param,
        is_active="inactive" not in request.param,
    )
    if request.param == "own permission":
        user.user_permissions.add(more)
    if "group" in request.param:
        group = Group.objects.create(name="Engineers")
        group.permissions.add(more)
        user.groups.add(group)
    return user


def form(user: User, **changes) -> dict:
    fields = {"username": user.username, "is_active": "on", "is_staff": "on", "groups": []}
    return {**fields, **changes}


def rights(user: User) -> tuple:
    user = User.objects.get(pk=user.pk)
    own = sorted(user.user_permissions.values_list("codename", flat=True))
    return user.is_superuser, own, sorted(user.groups.values_list("name", flat=True))


def test_nobody_makes_himself_a_superuser(browser, editor):
    groups = [group.pk for group in editor.groups.all()]
    before = rights(editor)

    browser.post(f"{USERS}{editor.pk}/change/", form(editor, groups=groups, is_superuser="on"))

    assert not User.objects.get(pk=editor.pk).is_superuser
    assert rights(editor)[2] == before[2]


@pytest.mark.parametrize("whom", ["himself", "another", "new"])
@pytest.mark.parametrize("kind", ["permission", "group", "superuser"])
def test_nobody_gives_what_he_lacks(browser, editor, whom, kind):
    more = permission("django_q.change_schedule")
    group = Group.objects.create(name="Engineers")
    group.permissions.add(more)
    target = editor if whom == "himself" else User.objects.create_user("weaker", is_staff=True)
    own = list(editor.user_permissions.values_list("pk", flat=True)) if whom == "himself" else []
    asked = {
        "permission": {"user_permissions": [*own, more.pk]},
        "group": {"groups": [group.pk], "user_permissions": own},
        "superuser": {"is_superuser": "on", "user_permissions": own},
    }[kind]
    if whom == "new":
        made = {"username": "made", **{**NEW_PASSWORD, "password1": "made-by-77-Q", "password2": "made-by-77-Q"}}
        browser.post(f"{USERS}add/", {**made, **asked})
        target = User.objects.get(username="made")

    browser.post(f"{USERS}{target.pk}/change/", form(target, **asked))

    is_superuser, own_rights, groups = rights(target)
    assert not is_superuser
    assert "change_schedule" not in own_rights
    assert "Engineers" not in groups


def test_what_one_has_one_may_give(browser, editor):
    weaker = User.objects.create_user("weaker", is_staff=True)
    viewer, own = Group.objects.get(name="Viewer"), permission("accounts.change_tenant")

    browser.post(f"{USERS}{weaker.pk}/change/", form(weaker, groups=[viewer.pk], user_permissions=[own.pk]))

    assert rights(weaker) == (False, ["change_tenant"], ["Viewer"])
    assert AuditEntry.objects.filter(action="user.change", actor=editor, target=f"user {weaker.pk}").exists()


def test_who_is_more_is_changed_by_nobody_who_is_less(browser, stronger):
    before = User.objects.filter(pk=stronger.pk).values().get()

    changed = browser.post(f"{USERS}{stronger.pk}/change/", form(stronger, email="mine@example.com"))
    password = browser.post(f"{USERS}{stronger.pk}/password/", NEW_PASSWORD)
    unusable = browser.post(f"{USERS}{stronger.pk}/password/", {"usable_password": "false", "unset-password": "1"})
    deleted = browser.post(f"{USERS}{stronger.pk}/delete/", {"post": "yes"})
    browser.post(USERS, {"action": "delete_selected", "_selected_action": stronger.pk, "post": "yes"})

    assert [answer.status_code for answer in (changed, password, unusable, deleted)] == [403] * 4
    assert User.objects.filter(pk=stronger.pk).values().get() == before


def test_the_page_of_who_is_more_shows_nothing_of_the_password(browser, stronger):
    page = browser.get(f"{USERS}{stronger.pk}/change/")

    assert page.status_code == 200
    text = page.content.decode()
    assert "stronger" in text
    assert stronger.password.split("$")[1][:6] not in text
    assert "md5" not in text


def test_who_is_not_more_may_get_a_password(browser, editor):
    weaker = User.objects.create_user("weaker", is_staff=True)

    assert browser.post(f"{USERS}{weaker.pk}/password/", NEW_PASSWORD).status_code == 302
    assert User.objects.get(pk=weaker.pk).check_password("taken-over-77-Q")


@pytest.mark.parametrize("word", ["short", "password1234", "123456789012", "an-editor-"])
def test_a_weak_password_is_refused_wherever_one_is_set(browser, editor, word):
    both = {"password1": word, "password2": word, "usable_password": "true"}

    browser.post(f"{USERS}{editor.pk}/password/", both)
    browser.post(f"{USERS}add/", {"username": "editor-new", **both})
    browser.post(
        "/admin/password_change/",
        {"old_password": "an editor's own", "new_password1": word, "new_password2": word},
    )

    assert User.objects.get(pk=editor.pk).check_password("an editor's own")
    assert not User.objects.filter(username="editor-new").exists()


def test_a_group_gets_no_more_than_its_editor_has(browser, editor):
    more, own = permission("django_q.change_schedule"), permission("accounts.change_tenant")
    group = Group.objects.create(name="Desk")

    browser.post(f"{GROUPS}{group.pk}/change/", {"name": "Desk", "permissions": [more.pk, own.pk]})
    browser.post(f"{GROUPS}add/", {"name": "New", "permissions": [more.pk]})

    assert not group.permissions.exists()
    assert not Group.objects.filter(name="New").exists()
    browser.post(f"{GROUPS}{group.pk}/change/", {"name": "Desk", "permissions": [own.pk]})
    assert group.permissions.get() == own
    group.permissions.add(more)
    assert browser.post(f"{GROUPS}{group.pk}/change/", {"name": "Mine", "permissions": []}).status_code == 403
    assert browser.post(f"{GROUPS}{group.pk}/delete/", {"post": "yes"}).status_code == 403


def test_the_role_admin_cannot_open_the_form_of_a_group(db):
    user = User.objects.create_user("admin-role", is_staff=True)
    user.groups.add(Group.objects.get(name="Admin"))
    client = Client()
    client.force_login(user)

    assert client.get(f"{GROUPS}add/").status_code == 403
    assert client.get(GROUPS).status_code == 200


def test_a_superuser_may_do_all_of_it(admin_client, stronger):
    group = Group.objects.get(name="Viewer")

    admin_client.post(
        f"{USERS}{stronger.pk}/change/", form(stronger, is_superuser="on", groups=[group.pk], user_permissions=[])
    )

    assert rights(stronger) == (True, [], ["Viewer"])
    assert admin_client.post(f"{USERS}{stronger.pk}/password/", NEW_PASSWORD).status_code == 302


def test_a_deactivated_account_is_logged_out_for_good(browser, editor):
    leaver, stays = (User.objects.create_user(name, is_staff=True) for name in ("leaver", "stays"))
    clients = {}
    for user in (leaver, stays):
        clients[user] = Client()
        clients[user].force_login(user)
    fields = {**form(leaver), "is_active": ""}

    browser.post(f"{USERS}{leaver.pk}/change/", fields)
    assert clients[leaver].get("/admin/").status_code == 302
    User.objects.filter(pk=leaver.pk).update(is_active=True)

    assert clients[leaver].get("/admin/").status_code == 302
    assert clients[stays].get("/admin/").status_code == 200
    owners = [session.get_decoded().get(SESSION_KEY) for session in Session.objects.all()]
    assert sorted(owners) == sorted([str(editor.pk), str(stays.pk)])
