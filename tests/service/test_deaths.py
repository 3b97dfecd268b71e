"""Processes of the real service are killed; nothing may be lost, charged twice, or rendered differently."""

import os
import signal
from functools import partial
from pathlib import Path

import psutil
import pytest

from accounts.models import UsageEntry
from creatorify.demo import supervisor
from creatorify.demo.supervisor import wait_until_listening
from render.models import Render, State
from tests.engines import let_go_on
from tests.service.conftest import ended
from tests.stack import queue_worker, until


def film_of(render: Render) -> str:
    return render.video_key.removesuffix(".mp4")[-64:]


def latest() -> Render:
    return Render.objects.latest("created_at")


def test_a_project_outlives_the_web_process_that_took_it(service, post, wait_for) -> None:
    project_id = post("instant")
    os.kill(service.processes["web"].pid, signal.SIGKILL)

    until(lambda: latest().state == State.FINISHED)

    wait_until_listening(service.base_url, seconds=120)
    assert wait_for(project_id, ended)["status"] == "finished"


@pytest.mark.parametrize("engine", ["held", pytest.param("draft", marks=pytest.mark.slow)])
def test_a_render_goes_on_after_its_worker_was_killed(service, post, wait_for, request, tmp_path, engine: str) -> None:
    media = request.getfixturevalue("real_media") if engine == "draft" else {}
    go_on = tmp_path / "go-on"
    create = partial(post, engine, prompt=str(go_on), **media)
    let_go_on(go_on)
    wait_for(create(), ended)
    unbroken = latest()
    let_go_on(go_on, 2)
    project_id = create()
    wait_for(project_id, lambda status: (status["segment"] or 0) >= 2)

    queue_worker(service).kill()
    let_go_on(go_on)
    status = wait_for(project_id, ended)

    render = latest()
    assert status["status"] == "finished", status
    assert (render.attempt, render.crashes) == (2, 1)
    by_attempt = [segment.attempt for segment in render.segments.all()]
    assert by_attempt == sorted(by_attempt)
    assert set(by_attempt) == {1, 2}
    assert film_of(render) == film_of(unbroken)
    assert UsageEntry.objects.get(render_id=render.pk).billed_seconds == (
        UsageEntry.objects.get(render_id=unbroken.pk).billed_seconds
    )


def test_a_cancel_in_mid_render_ends_it_and_bills_nothing(service, client, post, wait_for, tmp_path) -> None:
    let_go_on(tmp_path / "go-on", 1)
    project_id = post("held", prompt=str(tmp_path / "go-on"))
    wait_for(project_id, lambda status: (status["segment"] or 0) >= 1)

    assert client.post(f"/projects/{project_id}/cancel").status_code == 202
    status = wait_for(project_id, ended)

    assert (status["state"], status["error"]["code"]) == ("canceled", "canceled")
    assert UsageEntry.objects.get(render_id=latest().pk).billed_seconds == 0


def test_a_worker_killed_while_idle_does_not_wedge_the_queue(service, post, wait_for) -> None:
    wait_for(post("instant"), ended)

    queue_worker(service).kill()

    assert wait_for(post("instant"), ended)["status"] == "finished"


@pytest.mark.parametrize("role", [pytest.param("sentinel", marks=pytest.mark.slow), "main"])
def test_no_orphan_survives_its_cluster(service, post, wait_for, monkeypatch, role: str) -> None:
    monkeypatch.setattr(supervisor, "_kill_group", lambda process: None)  # Without the supervisor's help.
    wait_for(post("instant"), ended)  # All of it has started.
    main = psutil.Process(service.processes["queue"].pid)
    [sentinel] = main.children()
    tree = [main, sentinel, *sentinel.children()]
    if role == "sentinel":
        tree.remove(main)  # It lives on, and grows the others anew.

    tree[0].kill()
    _, alive = psutil.wait_procs(tree, timeout=60)

    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
    assert wait_for(post("instant"), ended)["status"] == "finished"


def test_no_process_of_the_service_loads_torch(service, post, wait_for) -> None:
    wait_for(post("instant"), ended)

    processes = [psutil.Process(child.pid) for child in service.processes.values()]
    for process in [*processes, *(child for parent in processes for child in parent.children(recursive=True))]:
        assert "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text()
