"""The whole way of a render through a GPU node: real processes, a real model server, tiny weights, no GPU."""

import os
import shutil
import signal
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import product
from pathlib import Path

import httpx
import pytest

from accounts.models import UsageEntry
from creatorify.demo.supervisor import Supervisor
from creatorify.operations import invariants
from infinitetalk.checkpoints import hub
from render.models import Attempt, Node, Phase, Render
from tests.infinitetalk.conftest import weights  # noqa: F401
from tests.render.conftest import write_voice
from tests.service.conftest import ended
from tests.service.test_deaths import film_of, latest
from tests.stack import queue_worker, running_service, until

CHUNKS = 3
FAST_VARIANTS = {"1-fast", "1-fast-scaled", "2-fast", "2-fast-scaled"}
SLOW = {"sample_steps": 50, "sample_text_guide_scale": 5}  # some seconds for each chunk


@pytest.fixture
def folder(tmp_path: Path, weights: Path) -> Path:  # noqa: F811
    """A copy of the weights, which a test may damage."""
    shutil.copytree(weights, tmp_path / "weights")
    return tmp_path / "weights"


@pytest.fixture
def service(transactional_db, tmp_path: Path, folder: Path) -> Iterator[Supervisor]:
    try:
        with running_service(tmp_path, gpu_node=True, weights=folder, MODEL_FILES_PATIENCE_SECONDS="1") as supervisor:
            yield supervisor
        assert invariants.check() == []
    finally:
        for log in sorted((tmp_path / "logs").glob("*.log")):
            print(f"--- {log.name}\n{log.read_text()[-4000:]}")  # pytest shows it where a test fails


@pytest.fixture
def voice(site) -> str:
    """Of 17 frames: three of the tiny checkpoint's chunks."""
    base_url, folder = site
    write_voice(folder / "short-voice.wav", 0.69)
    return f"{base_url}/short-voice.wav"


class ModelServer:
    """What the model server says of itself."""

    def __init__(self, socket: Path) -> None:
        self._client = httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://model-server")

    def health(self) -> dict:
        return self._client.get("/health").json()

    def metric(self, name: str) -> float:
        lines = dict(line.rsplit(" ", 1) for line in self._client.get("/metrics").text.splitlines())
        return float(lines[name])


@pytest.fixture
def model(service, tmp_path: Path) -> ModelServer:
    return ModelServer(tmp_path / "model.sock")


@pytest.mark.slow
def test_a_film_survives_the_death_of_server_and_worker(service, post, wait_for, voice) -> None:
    survive(service, post, wait_for, voice, deaths=[("model", 1), ("worker", 2)])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_film_survives_the_death_of_server_and_worker_in_any_chunk(service, post, wait_for, voice) -> None:
    survive(service, post, wait_for, voice, deaths=product(("model", "worker"), range(CHUNKS)))


def survive(service, post, wait_for, voice, *, deaths: Iterable[tuple[str, int]]) -> None:
    """A render for each of the deaths: what is killed, and in which chunk."""
    create = partial(post, "infinitetalk", audio_url=voice, parameters=SLOW)
    wait_for(create(), ended)
    unbroken = latest()
    assert unbroken.segments_total == CHUNKS

    for victim, chunk in deaths:
        project_id = create()
        wait_for(project_id, partial(is_in_chunk, chunk))
        if victim == "model":
            kill(service.processes["model"].pid)
        else:
            kill(queue_worker(service, "gpu_node").pid)

        assert wait_for(project_id, ended)["status"] == "finished"
        render = latest()
        assert film_of(render) == film_of(unbroken)
        assert render.crashes == (victim == "worker")
        assert render.segments.count() == CHUNKS
        assert UsageEntry.objects.get(render_id=render.pk).billed_seconds == (
            UsageEntry.objects.get(render_id=unbroken.pk).billed_seconds
        )


@pytest.mark.slow
def test_a_canceled_render_leaves_the_server_to_the_next_one(service, client, post, wait_for, voice, model) -> None:
    project_id = post("infinitetalk", audio_url=voice, parameters=SLOW)
    wait_for(project_id, partial(is_in_chunk, 0))
    until(lambda: model.health()["state"] == "busy")

    assert client.post(f"/projects/{project_id}/cancel").status_code == 202
    assert wait_for(project_id, ended)["state"] == "canceled"
    until(lambda: model.health()["state"] == "ready")

    assert model.metric('infinitetalk_renders_total{outcome="aborted"}') == 1
    assert model.metric("infinitetalk_output_seconds_total") == 0
    assert wait_for(post("infinitetalk", audio_url=voice), ended)["status"] == "finished"


@pytest.mark.slow
def test_many_renders_load_the_model_once(service, post, wait_for, voice, model) -> None:
    projects = [post("infinitetalk", audio_url=voice, parameters={"sample_steps": 2}) for _ in range(20)]
    assert [wait_for(project, ended)["status"] for project in projects] == ["finished"] * 20

    assert model.metric("infinitetalk_model_loads") == 1
    assert model.metric('infinitetalk_renders_total{outcome="done"}') == 20
    assert len({film_of(render) for render in Render.objects.all()}) == 1
    node = Node.objects.get(queue="gpu")
    assert node.memory_plan == "resident"
    until(lambda: Node.objects.get(queue="gpu").model_state == "ready")


@pytest.mark.slow
def test_a_node_that_is_stopped_hands_its_render_back(service, post, wait_for, voice) -> None:
    create = partial(post, "infinitetalk", audio_url=voice, parameters=SLOW)
    wait_for(create(), ended)
    unbroken = latest()
    project_id = create()
    wait_for(project_id, partial(is_in_chunk, 0))

    service.processes["gpu_node"].terminate()

    # Its supervisor starts it anew, and it goes on.
    assert wait_for(project_id, ended)["status"] == "finished"
    render = latest()
    assert film_of(render) == film_of(unbroken)
    outcomes = list(render.attempts.order_by("number").values_list("outcome", flat=True))
    assert outcomes == [Attempt.Outcome.HANDED_OVER, Attempt.Outcome.YIELDED, Attempt.Outcome.DONE]
    assert render.crashes == 0
    assert not Node.objects.get(queue="gpu").draining


def is_in_chunk(chunk: int, status: dict) -> bool:
    return status["segment"] == chunk and status["phase"] == (Phase.RENDERING if chunk else Phase.LOADING)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_damaged_lora_ends_its_own_renders_and_none_else_until_it_is_put_back(
    service, folder, post, wait_for, voice, model
) -> None:
    create = partial(post, "infinitetalk", audio_url=voice)
    fast = hub.lora_file(folder, hub.PRESET_LORAS["fast"])
    good = fast.read_bytes()
    assert wait_for(create(parameters={"preset": "standard"}), ended)["status"] == "finished"
    fast.write_bytes(good[: len(good) // 2])

    failed = wait_for(create(parameters={"preset": "fast"}), ended)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "model_file_missing")
    assert not failed["error"]["retryable"]
    node = Node.objects.get(queue="gpu")
    assert (node.fault, node.unloadable.keys()) == ("", FAST_VARIANTS)
    assert str(fast) in node.unloadable["1-fast"]
    loads = model.metric("infinitetalk_model_loads")
    assert wait_for(create(parameters={"preset": "standard"}), ended)["status"] == "finished"
    assert model.metric("infinitetalk_model_loads") == loads  # It was never freed.

    fast.write_bytes(good)
    until(lambda: Node.objects.get(queue="gpu").unloadable == {})
    assert wait_for(create(parameters={"preset": "fast"}), ended)["status"] == "finished"
