from urllib.parse import parse_qsl

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from accounts.models import AuditEntry, Tenant, UsageEntry
from render.lifecycle import submission, transitions
from render.machine import nodes
from render.models import Node, Render, State
from render.parameters import Parameters
from render.storage.backends.files import is_signed_for_staff

RENDERS = "/admin/render/render/"
NODES = "/admin/render/node/"


@pytest.fixture
def queued(acme: Tenant) -> Render:
    render = Render(
        tenant=acme,
        engine="instant",
        image_url="https://example.com/face.png",
        audio_url="https://example.com/voice.wav",
        parameters=Parameters(seed=1).as_json(),
    )
    submission.submit(render, api_key=None, is_test=False)
    return render


def act(client: Client, url: str, action: str, *rows, **more) -> list[str]:
    """Do an action on rows and return what the page then says."""
    data = {"action": action, "_selected_action": [row.pk for row in rows], **more}
    response = client.post(url, data, follow=True)
    assert response.status_code == 200
    return [str(message) for message in response.context["messages"]]


def test_canceling_a_waiting_render_ends_it_and_releases_the_hold(admin_client: Client, queued: Render):
    said = act(admin_client, RENDERS, "cancel", queued)

    queued.refresh_from_db()
    usage = UsageEntry.objects.get(render_id=queued.pk)
    assert said == [f"Render {queued.pk} is canceled."]
    assert (queued.state, queued.error_code) == (State.CANCELED, "canceled")
    assert usage.billed_seconds == 0
    assert usage.settled_at is not None


def test_canceling_a_running_render_asks_its_worker(admin_client: Client, queued: Render):
    transitions.claim_next("cpu", nodes.heartbeat("cpu"))

    said = act(admin_client, RENDERS, "cancel", queued)

    queued.refresh_from_db()
    assert "will be canceled by its worker" in said[0]
    assert queued.state == State.RUNNING
    assert queued.cancel_requested_at is not None


def test_a_render_that_has_ended_is_reported_and_the_others_are_canceled(
    admin_client: Client, queued: Render, acme: Tenant
):
    ended = Render.objects.create(
        tenant=acme, engine="instant", queue="cpu", image_url="-", audio_url="-", parameters={},
        state=State.FINISHED, completed_at=queued.created_at,
    )  # fmt: skip

    said = act(admin_client, RENDERS, "cancel", ended, queued)

    ended.refresh_from_db()
    queued.refresh_from_db()
    assert (
        f"Render {ended.pk} was not canceled. The render has ended already (finished); there is nothing to cancel."
        in said
    )
    assert (ended.state, queued.state) == (State.FINISHED, State.CANCELED)


def test_the_renders_own_page_has_a_cancel_button_until_it_has_ended(admin_client: Client, queued: Render):
    page = f"{RENDERS}{queued.pk}/change/"
    before = admin_client.get(page).content.decode()

    response = admin_client.post(
        RENDERS, {"action": "cancel", "_selected_action": queued.pk, "from_change_form": 1}, follow=True
    )

    assert 'name="action" value="cancel"' in before
    assert response.redirect_chain == [(page, 302)]
    assert 'name="action" value="cancel"' not in response.content.decode()


def test_people_who_may_only_look_cannot_cancel(client: Client, queued: Render):
    reader = User.objects.create_user("reader", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_render"))
    client.force_login(reader)

    act(client, RENDERS, "cancel", queued)

    queued.refresh_from_db()
    assert queued.state == State.QUEUED
    assert 'name="action" value="cancel"' not in client.get(f"{RENDERS}{queued.pk}/change/").content.decode()


def test_a_failed_render_shows_error_and_trace(admin_client: Client, queued: Render):
    Render.objects.filter(pk=queued.pk).update(
        error_code="worker_lost", error_message="The worker was lost.", error_trace="at <module> line 7"
    )

    html = admin_client.get(f"{RENDERS}{queued.pk}/change/").content.decode()

    assert "The worker was lost." in html
    assert "at &lt;module&gt; line 7" in html


def test_every_look_at_a_tenants_media_is_written_down(admin_client: Client, queued: Render, admin_user):
    Render.objects.filter(pk=queued.pk).update(video_key="renders/film.mp4", sources={"voices": ["sources/v.wav"]})
    html = admin_client.get(f"{RENDERS}{queued.pk}/change/").content.decode()
    assert f'href="{RENDERS}{queued.pk}/media/video/"' in html
    assert "film.mp4" not in html

    answers = [admin_client.get(f"{RENDERS}{queued.pk}/media/{name}/") for name in ("video", "voice-1", "poster")]

    assert [answer.status_code for answer in answers] == [302, 302, 404]
    path, _, query = answers[0]["Location"].partition("?")
    expires, signature = dict(parse_qsl(query)).values()
    assert path == "/media/renders/film.mp4"
    assert is_signed_for_staff("renders/film.mp4", expires, signature)
    looks = AuditEntry.objects.filter(action="media.view").order_by("pk")
    assert [(look.actor, look.tenant, look.target, look.details["name"]) for look in looks] == [
        (admin_user, queued.tenant, f"render {queued.pk}", name) for name in ("video", "voice-1")
    ]


def test_a_node_is_drained_and_undrained(admin_client: Client, db):
    node = nodes.heartbeat("gpu")

    drained = act(admin_client, NODES, "drain", node)
    assert Node.objects.get().draining
    undrained = act(admin_client, NODES, "undrain", node)

    assert not Node.objects.get().draining
    assert (drained, undrained) == ([f"Node {node} drains."], [f"Node {node} takes renders again."])
