"""Every registered model's pages, with rows in them."""

from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_q.models import OrmQ, Schedule, Task

from accounts.models import ApiKey, Membership, Tenant, UsageEntry
from projects.models import Asset, Avatar, Deletion, Project, Take
from projects.models.webhooks import WebhookDelivery, WebhookEndpoint, WebhookEvent
from projects.services import create_project
from render.lifecycle import transitions
from render.machine import nodes
from render.models import Attempt, Node, Render, Segment

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
READ_ONLY = ["accounts.UsageEntry", "projects.Project", "projects.Asset", "projects.Avatar", "render.Render"]
READ_ONLY += ["projects.Deletion", "projects.WebhookEndpoint", "projects.WebhookDelivery"]
READ_ONLY += ["render.Node", "django_q.Schedule", "django_q.Success", "django_q.Failure", "django_q.OrmQ"]
NUMBER_OF_ROWS = 30


@pytest.fixture
def project(alice) -> Project:
    return new_project(alice)


@pytest.fixture
def rows(alice, project: Project, client: Client) -> Client:
    """Three rows of each model, and a superuser who looks at them."""
    make_rows(alice, 3)
    client.force_login(User.objects.create_superuser("staff"))
    return client


@pytest.fixture
def many_rows(alice, client: Client) -> Client:
    make_rows(alice, NUMBER_OF_ROWS)
    client.force_login(User.objects.create_superuser("staff"))
    return client


def make_rows(alice, number_of_rows: int) -> None:
    for number in range(number_of_rows):
        project = new_project(alice, title=f"Film {number}")
        user = User.objects.create(username=f"user-{number}")
        Group.objects.create(name=f"group-{number}")
        Node.objects.create(name=f"node-{number}", queue="cpu")
        tenant = Tenant.objects.create(name=f"Tenant {number}", plan=alice.tenant.plan)
        Membership.objects.create(tenant=tenant, user=user)
        ApiKey.objects.create(tenant=tenant, name="key", prefix=f"cf_live_{number}", digest="f" * 64)
        Schedule.objects.create(func="math.floor", args="1", next_run=timezone.now())
        asset = Asset.objects.create(
            tenant=tenant, filename="me.png", content_type="image/png", num_bytes=5, key=f"key-{number}", state="ready"
        )
        Avatar.objects.create(tenant=tenant, name=f"Avatar {number}", asset=asset)
        endpoint = WebhookEndpoint.objects.create(tenant=tenant, url="https://example.com/", secret="whsec_")
        event = WebhookEvent.objects.create(type="project.finished", project_id=project.pk, render_id=uuid4())
        WebhookDelivery.objects.create(event=event, endpoint=endpoint, body="{}", last_status=500)
        Deletion.objects.create(project=project, tenant=alice.tenant)
        for success in (True, False):
            Task.objects.create(
                id=f"{number}-{success}", name="ticket", func="math.floor", args=(1,), result="done", success=success,
                started=timezone.now(), stopped=timezone.now(),
            )  # fmt: skip
    claim = transitions.claim_next("cpu", nodes.heartbeat("cpu"))
    assert claim is not None
    Render.objects.filter(pk=claim.render_id).update(
        sources={"portrait": "sources/p.png", "video": None, "voices": ["sources/v.wav"], "sound": [["s/v.wav", 1.5]]},
        plan={"segments": [[0, 25]]},
    )
    Attempt.objects.create(render_id=claim.render_id, number=7, node=nodes.heartbeat("gpu"), outcome="done")
    Segment.objects.create(
        render_id=claim.render_id, index=0, attempt=1, key="renders/segment.mp4", num_bytes=10, frames=25
    )


def test_lists_and_other_pages_are_shown_with_few_queries(many_rows: Client):
    queries = {}
    for model in MODELS:
        with CaptureQueriesContext(connection) as asked:
            response = many_rows.get(page(model, "changelist"))
        assert response.status_code == 200, model
        assert len(response.context["cl"].result_list) >= min(NUMBER_OF_ROWS, model._default_manager.count()), model
        queries[model._meta.label] = len(asked)
    for path in ("", "operations/", "report/"):
        with CaptureQueriesContext(connection) as asked:
            assert many_rows.get(f"/admin/{path}").status_code == 200, path
        queries[path] = len(asked)

    assert {name: number for name, number in queries.items() if number >= NUMBER_OF_ROWS} == {}


def test_each_search_works_with_words_and_with_an_id(rows: Client, project: Project):
    for model in [model for model in MODELS if admin.site.get_model_admin(model).search_fields]:
        for words in ("acme", str(project.pk)):
            assert rows.get(page(model, "changelist"), {"q": words}).status_code == 200, (model, words)


def test_each_change_page_is_shown_with_few_queries(rows: Client):
    queries = {}
    for model in MODELS:
        # Of projects and renders all: they differ. Of the rest one is as another.
        for row in model._default_manager.all()[: 3 if model in (Project, Render) else 1]:
            with CaptureQueriesContext(connection) as asked:
                assert rows.get(page(model, "change", row.pk)).status_code == 200, row
            queries[row] = len(asked)

    assert {row: number for row, number in queries.items() if number > 30} == {}


def test_a_running_renders_page_shows_its_sources_attempts_and_pieces(rows: Client):
    render = Render.objects.get(state="running")

    html = rows.get(page(Render, "change", render.pk)).content.decode()

    assert reverse("admin:render_render_media", args=[render.pk, "portrait"]) in html
    assert reverse("admin:render_render_media", args=[render.pk, "sound-1"]) in html
    assert reverse("admin:render_render_media", args=[render.pk, "segment-0"]) in html
    assert reverse("admin:accounts_usageentry_change", args=[UsageEntry.objects.get(render_id=render.pk).pk]) in html


def test_nobody_can_add_change_or_delete_by_form_what_is_only_to_be_read(rows: Client):
    models = [model for model in MODELS if model._meta.label in READ_ONLY]
    assert len(models) == len(READ_ONLY)
    for model in models:
        row = model._default_manager.first()

        add = rows.post(page(model, "add"), {})
        change = rows.post(page(model, "change", row.pk), {"func": "os.system"})
        delete = rows.post(page(model, "delete", row.pk), {"post": "yes"})
        rows.post(page(model, "changelist"), {"action": "delete_selected", "_selected_action": row.pk, "post": "yes"})

        assert (add.status_code, change.status_code, delete.status_code) == (403, 403, 403), model
        assert model._default_manager.filter(pk=row.pk).exists(), model


def test_the_queues_tables_have_no_form_that_writes_or_runs_anything(rows: Client):
    tickets, schedules = OrmQ.objects.count(), list(Schedule.objects.values())
    task = Task.objects.filter(success=False)[0]

    rows.post("/admin/django_q/failure/", {"action": "resubmit_task", "_selected_action": task.pk, "index": 0})

    assert OrmQ.objects.count() == tickets
    assert list(Schedule.objects.values()) == schedules


def test_people_who_are_not_staff_see_nothing(client: Client, db):
    client.force_login(User.objects.create_user("member"))

    for model in MODELS:
        assert client.get(page(model, "changelist")).status_code == 302


def page(model, view: str, *arguments) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{view}", args=arguments)


def new_project(caller, **overrides) -> Project:
    fields = {
        "tenant": caller.tenant,
        "api_key": caller.key,
        "title": "A film",
        "image_url": "https://example.com/face.png",
        "audio_url": "https://example.com/voice.wav",
        "parameters": {"engine": "instant"},
    }
    project = Project(**{**fields, **overrides})
    create_project(project)
    assert Take.objects.filter(project=project).exists()
    return project


def test_times_are_on_the_change_page(rows: Client, project: Project):
    Project.objects.filter(pk=project.pk).update(deleted_at=Now())

    html = rows.get(page(Project, "change", project.pk)).content.decode()

    assert all(f"field-{name}" in html for name in ("created_at", "updated_at", "deleted_at"))


def test_a_projects_page_leads_to_its_assets_and_shows_its_script(rows: Client, alice):
    asset = Asset.objects.create(
        tenant=alice.tenant, filename="me.png", content_type="image/png", num_bytes=5, key="k", sha256="0" * 64,
        state="ready", kind="image",
    )  # fmt: skip
    script = {"text": "Hello from a script", "voice": "heart", "language": "en"}
    project = new_project(alice, image_url=f"asset:{asset.pk}", audio_url="", script=script)

    html = rows.get(page(Project, "change", project.pk)).content.decode()

    assert f'href="{page(Asset, "change", asset.pk)}"' in html
    assert "Hello from a script" in html
    assert "voice: heart, language: en" in html


@pytest.mark.parametrize(("second_audio", "shown"), [("", False), ("https://example.com/other.wav", True)])
def test_what_was_requested_is_shown_as_text_and_the_order_only_of_two_voices(rows: Client, alice, second_audio, shown):
    warning = {"param": "script", "code": "tags_read_aloud", "detail": "Some tags <b> are read aloud."}
    project = new_project(alice, audio_url_2=second_audio, warnings=[warning])
    render = project.takes.get().render
    span = {"start": 0, "stop": 25}
    Render.objects.filter(pk=render.pk).update(
        plan={"width": 64, "height": 48, "num_frames": 25, "segments": [span]},
        parameters={"seed": 7, "frame_num": None},
    )

    of_project = rows.get(page(Project, "change", project.pk)).content.decode()
    of_render = rows.get(page(Render, "change", render.pk)).content.decode()

    assert "<li>script: Some tags &lt;b&gt; are read aloud. (tags_read_aloud)</li>" in of_project
    assert "<tr><th>engine</th><td>instant</td></tr>" in of_project
    assert "<tr><th>frame_num</th><td>default</td></tr>" in of_render
    assert "64 x 48 pixels, 25 frames; segments: 0 to 24" in of_render
    assert ("the first voice, then the second one" in of_project) is shown
    assert ("the first voice, then the second one" in of_render) is shown
