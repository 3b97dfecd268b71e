import pytest
from django.test import Client

from accounts.errors import ServiceError
from projects.models import Project
from projects.services import create_project
from render.lifecycle import transitions
from render.machine import nodes
from render.models import Render, State


@pytest.fixture
def project(alice) -> Project:
    project = Project(
        tenant=alice.tenant,
        api_key=alice.key,
        user_id="customer-17",
        title="Welcome film",
        image_url="https://example.com/face.png",
        audio_url="javascript:alert(1)",
        parameters={"engine": "instant"},
    )
    create_project(project)
    return project


@pytest.fixture
def failed(project: Project) -> Project:
    claim = transitions.claim_next("cpu", nodes.heartbeat("cpu"))
    transitions.fail(claim, ServiceError("worker_lost", "The engine gave up."), trace="Traceback: at /opt/node")
    return project


def test_a_failed_project_is_listed_with_its_error(admin_client: Client, failed: Project):
    html = admin_client.get("/admin/projects/project/").content.decode()

    assert "worker_lost" in html
    assert "The engine gave up." in html


def test_a_failed_projects_page_has_the_error_above_its_inputs(admin_client: Client, failed: Project):
    html = admin_client.get(f"/admin/projects/project/{failed.pk}/change/").content.decode()

    assert 0 < html.index("The engine gave up.") < html.index("https://example.com/face.png")
    assert f"/admin/render/render/{failed.takes.get().render_id}/change/" in html


def test_the_state_filter_goes_by_the_latest_take(admin_client: Client, failed: Project):
    by_state = {
        state: admin_client.get("/admin/projects/project/", {"state": state}).context["cl"].result_count
        for state in (State.FAILED, State.QUEUED)
    }

    assert by_state == {State.FAILED: 1, State.QUEUED: 0}


def test_a_project_is_found_by_every_name_a_customer_may_give(admin_client: Client, alice, project: Project):
    ids = [project.pk, project.pk.hex, project.takes.get().render_id, project.tenant_id]
    words = ["Welcome", "customer-17", "Acme", alice.key.prefix]

    for term in [*ids, *words]:
        found = admin_client.get("/admin/projects/project/", {"q": str(term)}).context["cl"].result_list
        assert list(found) == [project], term


def test_a_project_of_several_takes_is_found_once(admin_client: Client, project: Project):
    second = Render.objects.create(
        tenant=project.tenant, engine="instant", queue="cpu", image_url="-", audio_url="-", parameters={}
    )
    project.takes.create(number=2, kind="draft", render=second)

    found = admin_client.get("/admin/projects/project/", {"q": str(project.pk)}).context["cl"].result_list

    assert list(found) == [project]


def test_an_address_that_is_no_web_address_is_not_clickable(admin_client: Client, project: Project):
    html = admin_client.get(f"/admin/projects/project/{project.pk}/change/").content.decode()

    assert "javascript:alert(1)" in html
    assert 'href="javascript:' not in html


def test_a_renders_page_leads_back_to_its_project(admin_client: Client, project: Project):
    html = admin_client.get(f"/admin/render/render/{project.takes.get().render_id}/change/").content.decode()

    assert f"/admin/projects/project/{project.pk}/change/" in html
