"""`check_invariants`: silent when all is well, and each invariant is broken by what it forbids and by nothing else."""

from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from accounts.errors import ServiceError
from creatorify import tasks
from creatorify.operations import invariants
from creatorify.operations.invariant import Invariant
from projects import services
from projects.models import Project
from render.lifecycle import transitions
from render.models import Render, Segment
from tests.projects.steps import claim, create, finish, finished_project, latest_render

pytestmark = pytest.mark.django_db

LONG_AGO = "now() - interval '1 day'"
# Invariant -> what breaks it; `finished`, `failed`, `running` and `queued` are ids of such renders.
BREAKS = {
    "lease_alive": f"UPDATE render_render SET lease_until = {LONG_AGO} WHERE id = '{{running}}'",
    "cancel_carried_out": "UPDATE render_render SET cancel_requested_at = now() WHERE id = '{queued}'",
    "start_deadline_kept": f"UPDATE render_render SET start_deadline_at = {LONG_AGO} WHERE id = '{{queued}}'",
    "total_deadline_kept": f"UPDATE render_render SET total_deadline_at = {LONG_AGO} WHERE id = '{{running}}'",
    "ticket_there": "DELETE FROM django_q_ormq;"
    f" UPDATE render_render SET not_before = {LONG_AGO} WHERE id = '{{queued}}'",
    "nodes_can_work": "INSERT INTO render_node (name, queue, model_state, gpu, memory_plan, draining, fault,"
    f" fault_since) VALUES ('n', 'gpu', '', '', '', false, 'no room', {LONG_AGO})",
    "one_usage_row": "DELETE FROM accounts_usageentry WHERE render_id = '{failed}'",
    "hold_ends_with_render": "UPDATE accounts_usageentry SET billed_seconds = NULL, settled_at = NULL,"
    " amount_micros = reserved_seconds * price_micros WHERE render_id = '{failed}'",
    "billed_as_made": "UPDATE accounts_usageentry SET billed_seconds = 1, amount_micros = price_micros"
    " WHERE render_id = '{finished}'",
    "amount_is_price": "UPDATE accounts_usageentry SET amount_micros = 7 WHERE render_id = '{finished}'",
    "within_plan": "UPDATE accounts_plan SET monthly_seconds = 1",
    "finished_is_whole": "UPDATE render_render SET segments_total = 2 WHERE id = '{finished}'",
    "attempts_in_order": "UPDATE render_attempt SET number = 5 WHERE render_id = '{failed}'",
    "no_stale_segment": "UPDATE render_segment SET attempt = 9 WHERE render_id = '{finished}'",
    "concurrency_kept": "UPDATE accounts_plan SET max_concurrent = 0",
    "guards_stand": "ALTER TABLE render_render DISABLE TRIGGER render_terminal_is_final",
    "one_take": "DELETE FROM projects_take WHERE render_id = '{queued}'",
    "one_end_is_told": "INSERT INTO projects_webhookevent (type, project_id, render_id, handed_out_at)"
    " VALUES ('project.canceled', NULL, '{finished}', now())",
    "messages_move_on": "INSERT INTO projects_webhookevent (type, project_id, render_id, created_at)"
    f" VALUES ('project.queued', NULL, '{{queued}}', {LONG_AGO})",
    "deletions_done": "INSERT INTO projects_deletion (tenant_id, project_id, files, requested_at)"
    f" SELECT p.tenant_id, p.id, 0, {LONG_AGO} FROM projects_project p JOIN projects_take k ON k.project_id = p.id"
    " WHERE k.render_id = '{finished}';"
    f" UPDATE render_render SET completed_at = {LONG_AGO} WHERE state IN ('finished', 'failed', 'canceled');"
    f" UPDATE render_segment SET created_at = {LONG_AGO}",
    "objects_deleted": "INSERT INTO projects_discardedobject (key, tries) VALUES ('k', 29)",
    "assets_checked": "INSERT INTO projects_asset (id, tenant_id, is_test, origin, filename, content_type, num_bytes,"
    " sha256, key, state, kind, facts, error_code, error_message, checks, uploaded_at)"
    " SELECT gen_random_uuid(), id, false,"
    " 'upload', 'f', 'image/png', 1, '', 'k', 'waiting', '', '{{}}', '', '', 0,"
    f" {LONG_AGO} FROM accounts_tenant",
}


@pytest.fixture
def ids(alice) -> dict[str, object]:
    """A render in each state that matters, each made as the service makes it."""
    found: dict[str, object] = {"finished": latest_render(finished_project(alice)["id"]).pk}
    failing = create(alice)
    transitions.fail(claim(), ServiceError("no_face", "No face."))
    found["failed"] = latest_render(failing["id"]).pk
    canceled = create(alice)
    alice.post(canceled["urls"]["cancel"])
    running = create(alice)
    claim()
    found["running"] = latest_render(running["id"]).pk
    found["queued"] = latest_render(create(alice)["id"]).pk
    return found


def broken() -> set[str]:
    return {finding.invariant.name for finding in invariants.check()}


def test_every_invariant_is_broken_here_once() -> None:
    assert sorted(BREAKS) == sorted(invariant.name for invariant in invariants.INVARIANTS)


def test_all_hold_for_what_the_service_does(ids) -> None:
    assert invariants.check() == []
    call_command("check_invariants")


def test_it_finds_what_is_broken(ids) -> None:
    found = {}
    for name, statements in BREAKS.items():
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
                cursor.execute(statements.format(**ids))
            found[name] = broken()
            transaction.set_rollback(True)

    assert found == {name: {name} for name in BREAKS}


@pytest.mark.parametrize("deadline", ["start_deadline_at", "total_deadline_at"])
def test_a_render_that_no_worker_may_claim_needs_no_ticket(ids, deadline) -> None:
    just_now = "now() - interval '1 second'"
    with connection.cursor() as cursor:
        cursor.execute(BREAKS["ticket_there"].format(**ids))
        assert broken() == {"ticket_there"}
        cursor.execute(f"UPDATE render_render SET {deadline} = {just_now} WHERE id = '{ids['queued']}'")

    assert broken() == set()


def test_what_is_found_is_told_by_the_command_and_in_the_log(ids, caplog, capsys) -> None:
    with connection.cursor() as cursor:
        cursor.execute(BREAKS["amount_is_price"].format(**ids))

    with pytest.raises(CommandError) as ended:
        call_command("check_invariants")

    assert ended.value.returncode == 1
    assert capsys.readouterr().out.startswith("amount_is_price: ")
    tasks.check_invariants()
    assert "amount_is_price" in caplog.text


def test_one_that_fails_hides_no_other(alice, admin_client, caplog, capsys, monkeypatch) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(BREAKS["assets_checked"].format())
        cursor.execute("SET LOCAL statement_timeout = '1s'")
    slow = Invariant("slow", "It takes too long.", "SELECT pg_sleep(60)")
    wrong = Invariant("wrong", "It fails.", "SELECT 1 / 0")
    monkeypatch.setattr(invariants, "INVARIANTS", [slow, wrong, *invariants.INVARIANTS])

    findings = {finding.invariant.name: finding for finding in invariants.check()}

    assert list(findings) == ["slow", "wrong", "assets_checked"]
    assert findings["slow"].text == "could not be checked: canceling statement due to statement timeout"
    assert findings["wrong"].text == "could not be checked: division by zero"
    assert findings["assets_checked"].violations
    monkeypatch.setattr(invariants, "INVARIANTS", [wrong, *invariants.INVARIANTS[2:]])  # One wait is enough.
    tasks.check_invariants()
    assert "Invariant wrong could not be checked: division by zero" in caplog.text
    with pytest.raises(CommandError):
        call_command("check_invariants")
    assert "wrong: It fails. could not be checked: division by zero" in capsys.readouterr().out
    page = admin_client.get("/admin/invariants/").content.decode()
    assert (page.count("<strong>not checked</strong>"), page.count("<strong>broken</strong>")) == (1, 1)


def test_a_database_that_is_away_is_no_finding(monkeypatch) -> None:
    def away(*arguments: object) -> bool:
        return False

    monkeypatch.setattr(connection, "is_usable", away)
    monkeypatch.setattr(invariants, "INVARIANTS", [Invariant("wrong", "It fails.", "SELECT 1 / 0")])

    with pytest.raises(DatabaseError):
        invariants.check()


def test_a_segment_of_a_worker_that_slept_through_its_lease_is_found(ids) -> None:
    Segment.objects.filter(render=ids["finished"]).update(attempt=0)
    assert broken() == set()  # As it is copied to a render that continues another, before that begins.

    Segment.objects.filter(render=ids["finished"]).update(created_at=timezone.now() + timedelta(minutes=1))
    Render.objects.filter(pk=ids["finished"]).update(completed_at=timezone.now() + timedelta(minutes=2))
    assert broken() == {"no_stale_segment"}


def test_a_render_that_continues_another_breaks_none(alice) -> None:
    project = create(alice)
    claimed = claim()
    finish_all_but_the_upload(claimed)
    transitions.fail(claimed, ServiceError("upload_failed", "The storage is full."))

    services.retry(Project.objects.get(pk=project["id"]), None)
    again = claim()
    transitions.finish(again, video_key="v", poster_key="p", duration_seconds=2)

    assert Render.objects.filter(state="finished").count() == 1
    assert invariants.check() == []


def finish_all_but_the_upload(claimed) -> None:
    original = transitions.finish
    try:
        transitions.finish = lambda *arguments, **named: None
        finish(claimed)
    finally:
        transitions.finish = original


def test_the_admin_shows_them(admin_client, ids) -> None:
    page = admin_client.get("/admin/invariants/").content.decode()
    assert page.count("<td>holds</td>") == len(invariants.INVARIANTS)

    with connection.cursor() as cursor:
        cursor.execute(BREAKS["amount_is_price"].format(**ids))
    assert admin_client.get("/admin/invariants/").content.decode().count("<strong>broken</strong>") == 1
