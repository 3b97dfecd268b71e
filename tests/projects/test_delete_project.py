from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection

from projects.models import Project
from render import lifecycle, nodes, progress
from render.fence import CancelRequested
from render.models import Render, State
from tests.projects.steps import NEW, PROJECTS, claim, create, finish, finished_project, latest_render

FILMS = ["renders/film.mp4", "renders/poster.jpg", "renders/segment.mp4"]


@pytest.fixture
def films():
    for key in FILMS:
        default_storage.save(key, ContentFile(b"film"))


def films_left():
    return [key for key in FILMS if default_storage.exists(key)]


@pytest.mark.parametrize("slash", ["", "/"])
def test_it_hides_the_project_for_good(alice, slash):
    project = create(alice)

    response = alice.delete(f"{PROJECTS}/{project['id']}{slash}")

    assert (response.status_code, response.json()) == (200, {"detail": "Project deleted successfully"})
    assert alice.get(project["urls"]["self"]).status_code == 404
    assert alice.get(project["urls"]["status"]).status_code == 404
    assert alice.post(project["urls"]["cancel"]).status_code == 404
    assert alice.delete(project["urls"]["self"]).status_code == 404
    assert Project.objects.get().deleted_at is not None


def test_it_cancels_what_is_queued(alice):
    alice.delete(create(alice)["urls"]["self"])

    assert Render.objects.get().state == State.CANCELED


@pytest.mark.django_db(transaction=True)
def test_it_deletes_the_film(alice, films):
    alice.delete(finished_project(alice)["urls"]["self"])

    assert films_left() == []


@pytest.mark.django_db(transaction=True)
def test_it_deletes_what_a_running_render_leaves_once_that_has_ended(alice, films):
    project = create(alice)
    claimed = claim()
    progress.prepared(claimed, sources={}, plan={}, num_frames=25, segments_total=2)
    progress.record_segment(
        claimed, index=0, key=FILMS[2], num_bytes=1, frames=25, state_key="", render_seconds=1.0, progress=50
    )
    alice.delete(project["urls"]["self"])
    assert films_left() == FILMS
    assert latest_render(project["id"]).cancel_requested_at is not None

    lifecycle.cancel(claimed)

    assert FILMS[2] not in films_left()


def test_a_project_with_a_film_keeps_it_when_a_neighbour_is_deleted(alice, films):
    finished_project(alice)
    alice.delete(create(alice)["urls"]["self"])

    assert films_left() == FILMS


def test_it_is_refused_to_strangers_and_readers(alice, charlie, anonymous):
    url = create(alice)["urls"]["self"]
    alice.key.scopes = ["projects:read"]
    alice.key.save(update_fields=["scopes"])

    assert charlie.delete(url).status_code == 404
    assert anonymous.delete(url).status_code == 401
    assert alice.delete(url).status_code == 403


@pytest.mark.django_db(transaction=True)
def test_creating_finalizing_canceling_and_deleting_at_once_never_block_each_other(alice):
    """Locks are taken in one order everywhere, so Postgres has no deadlock to break with an error."""
    projects = [finished_project(alice) for _ in range(4)]
    answers = []

    def act(number):
        try:
            urls = projects[number % 4]["urls"]
            for _ in range(3):
                answers.append(alice.post(PROJECTS, NEW, format="json").status_code)
                answers.append(alice.post(urls["finalize"]).status_code)
                answers.append(alice.post(urls["cancel"]).status_code)
            answers.append(alice.delete(urls["self"]).status_code)
        finally:
            connection.close()

    def work(number):
        try:
            for _ in range(20):
                if claimed := lifecycle.claim_next("cpu", node):
                    try:
                        finish(claimed)
                    except CancelRequested:
                        lifecycle.cancel(claimed)
        finally:
            connection.close()

    node = nodes.beat("cpu")
    with ThreadPoolExecutor(10) as pool:
        futures = [pool.submit(act, number) for number in range(8)] + [pool.submit(work, number) for number in range(2)]

    for future in futures:
        future.result()
    assert set(answers) <= {200, 201, 202, 404, 409}
    assert not Render.objects.filter(take__project__deleted_at__isnull=False, state=State.QUEUED).exists()
