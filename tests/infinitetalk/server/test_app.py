"""The model server's interface, over a real socket, with a model whose every step the test decides."""

import errno
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import msgpack
import numpy as np
import pytest
import torch
import uvicorn

from infinitetalk.acceleration.memory_plan import PLANS
from infinitetalk.errors import InfiniteTalkError, InvalidCheckpoint, InvalidInput
from infinitetalk.pipeline import GeneratedChunk
from infinitetalk.sampling.resume_point import ResumePoint
from infinitetalk.server import app, file_watch, leases
from infinitetalk.server.app import ModelServer
from infinitetalk.server.leases import Aborted
from infinitetalk.server.loaded_model import Readiness

STEPS = 8
BOX = [0, 0, 64, 64]
SETTINGS = {
    "num_inference_steps": STEPS,
    "flow_shift": 2.0,
    "text_guidance_scale": 1.0,
    "audio_guidance_scale": 1.0,
    "color_correction_strength": 0.0,
    "teacache_threshold": None,
    "num_frames_per_chunk": 17,
    "motion_frames": 5,
    "resolution": "480p",
}


def job(**overrides: Any) -> dict[str, Any]:
    return {
        "render_id": "render",
        "attempt": 1,
        "lease_seconds": 60.0,
        "source": "/portrait.png",
        "voices": ["/voice.wav"],
        "prompt": "A person is talking.",
        "seed": 1,
        "size": [64, 96],
        "num_frames": 40,
        "lora": None,
        "lora_scale": 1.0,
        "settings": SETTINGS,
        "checkpoint": None,
        **overrides,
    }


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


class SteppedModel:
    """Renders three chunks; each step waits until the test allows it."""

    def __init__(self) -> None:
        self.plan = PLANS["resident"]
        self.runtime = SimpleNamespace(device=torch.device("cpu"), attention="native")
        self.loads = 1
        self.variant = None
        self.bad_files: dict[str, str] = {}
        self.readiness = Readiness.READY
        self.allowed = threading.Semaphore(0)
        self.done: list[tuple[int, int]] = []  # chunk, step
        self.fault: Exception | None = None

    def render(self, job: Any, check: Callable[[], None], on_step: Callable[[int, int], None]) -> Iterator[Any]:
        for chunk in range(job.resume_point.next_chunk if job.resume_point else 0, 3):
            for step in range(STEPS):
                self.allowed.acquire()
                check()
                if self.fault is not None:
                    fault, self.fault = self.fault, None
                    raise fault
                on_step(chunk, step)
                self.done.append((chunk, step))
            frames = np.full((16, 4, 4, 3), chunk, np.uint8)
            yield GeneratedChunk(chunk, frames, ResumePoint(chunk + 1, torch.zeros(1, 3, 5, 4, 4)))

    def unloadable(self) -> dict[str, str]:
        return self.bad_files

    def allow(self, steps: int = 10**4) -> None:
        for _ in range(steps):
            self.allowed.release()


class Web:
    """A web server on a socket; a ModelServer of its own for each test, for uvicorn takes long to end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.app: Callable[..., Any]
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._server = uvicorn.Server(uvicorn.Config(self._call, interface="asgi3", log_config=None, lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, args=[[self._listener]])

    async def _call(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)

    def __enter__(self) -> "Web":
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        return self

    def __exit__(self, *error: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()


class RunningServer:
    def __init__(self, model: Any, web: Web) -> None:
        self.fatal = threading.Event()
        self.model = model
        self.streams: list[Stream] = []
        transport = httpx.HTTPTransport(uds=str(web.path))
        self.client = httpx.Client(transport=transport, base_url="http://server", timeout=30)
        self._app = ModelServer(model, on_fatal=self.fatal.set)
        web.app = self._app.app

    def health(self) -> dict[str, Any]:
        return self.client.get("/health").json()

    def metric(self, name: str) -> float:
        lines = self.client.get("/metrics").text.splitlines()
        return float(dict(line.rsplit(" ", 1) for line in lines)[name])

    def has_aborted(self) -> bool:
        """Whether the render that runs will end before its next step."""
        try:
            self._app._rendering.check()
        except Aborted:
            return True
        return False


class Stream(threading.Thread):
    """A client that reads the messages of a render as they come."""

    def __init__(self, server: RunningServer, given: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self._client = server.client
        self._job = given
        self._hang_up = threading.Event()
        server.streams.append(self)
        self.start()

    def run(self) -> None:
        unpacker = msgpack.Unpacker(max_buffer_size=0)
        with self._client.stream("POST", "/renders", content=msgpack.packb(self._job)) as response:
            for piece in response.iter_raw():
                unpacker.feed(piece)
                for message in unpacker:
                    self.messages.put(message)
                if self._hang_up.is_set():
                    return

    def next(self, kind: str) -> dict[str, Any]:
        """The next message of this kind; others before it are thrown away."""
        while (message := self.messages.get(timeout=20))["type"] != kind:
            pass
        return message

    def hang_up(self) -> None:
        self._hang_up.set()
        self.join()


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr(file_watch, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(app, "ALIVE_SECONDS", 0.05)


class Clock:
    """The leases' clock, which stands still."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(leases, "time", clock)
    return clock


@pytest.fixture(scope="module")
def web(tmp_path_factory) -> Iterator[Web]:
    with Web(tmp_path_factory.mktemp("web") / "model.sock") as web:
        yield web


@pytest.fixture
def server(web: Web) -> Iterator[RunningServer]:
    running = RunningServer(SteppedModel(), web)
    with running.client:
        yield running
        running.model.allow()
        for stream in running.streams:
            stream.join(60)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def post(server: RunningServer, path: str, body: bytes) -> tuple[int, str]:
    response = server.client.post(path, content=body)
    return response.status_code, msgpack.unpackb(response.content)["code"]


def test_a_render_comes_step_by_step_and_chunk_by_chunk(server) -> None:
    stream = Stream(server, job())
    server.model.allow(1)
    assert stream.next("step") == {"type": "step", "chunk": 0, "step": 0, "steps": STEPS - 1}
    assert (server.health()["state"], server.health()["render_id"]) == ("busy", "render")

    server.model.allow()
    chunks = [stream.next("chunk") for _ in range(3)]
    assert [chunk["index"] for chunk in chunks] == [0, 1, 2]
    assert [np.frombuffer(chunk["frames"], np.uint8).reshape(chunk["shape"]).mean() for chunk in chunks] == [0, 1, 2]
    assert [ResumePoint.from_bytes(chunk["checkpoint"]).next_chunk for chunk in chunks] == [1, 2, 3]
    stream.next("done")
    until(lambda: server.health()["state"] == "ready")
    assert server.metric('infinitetalk_renders_total{outcome="done"}') == 1
    assert server.metric("infinitetalk_output_seconds_total") == 3 * 16 / 25
    assert server.metric("infinitetalk_chunk_seconds_count") == 3


def test_it_says_which_variants_it_cannot_load(server) -> None:
    server.model.bad_files = {"1-fast": "There is no file fast.safetensors."}

    assert server.health()["unloadable"] == server.model.bad_files
    assert server.metric("infinitetalk_unloadable_variants") == 1

    server.model.bad_files = {}
    until(lambda: server.health()["unloadable"] == {})


@pytest.mark.parametrize("hangs_from", [0, 1])
def test_it_answers_while_the_file_system_of_the_weights_hangs(server, monkeypatch, hangs_from) -> None:
    looks: list[str] = []
    back = threading.Event()

    def look() -> dict[str, str]:
        looks.append(threading.current_thread().name)
        if len(looks) > hangs_from:
            back.wait(60)
        return {"1-fast": "It is empty."}

    monkeypatch.setattr(file_watch, "FIRST_CHECK_SECONDS", 0.1 if hangs_from == 0 else 20)
    server.model.unloadable = look
    server.health()
    until(lambda: len(looks) > hangs_from)

    said = [server.health()["unloadable"] for _ in range(20)]
    assert said == [{"1-fast": "It is empty."} if hangs_from else {}] * 20
    assert server.metric("infinitetalk_unloadable_variants") == hangs_from
    assert looks == ["check-files"] * (hangs_from + 1)  # One thread hangs, however often it is asked.
    back.set()
    until(lambda: server.health()["unloadable"] != {})


def test_a_client_that_goes_away_ends_its_render_within_one_step(server) -> None:
    stream = Stream(server, job())
    server.model.allow(2)
    stream.next("step")
    stream.hang_up()
    until(lambda: len(server.model.done) == 2)
    until(server.has_aborted)

    server.model.allow()

    until(lambda: server.health()["state"] == "ready")
    assert server.model.done == [(0, 0), (0, 1)]
    assert server.metric('infinitetalk_renders_total{outcome="aborted"}') == 1


def test_a_worker_that_does_not_extend_its_lease_loses_the_gpu(server, clock) -> None:
    stream = Stream(server, job(lease_seconds=30))
    until(lambda: server.health()["state"] == "busy")
    clock.seconds += 31
    server.model.allow()

    assert stream.next("error")["code"] == "aborted"
    assert server.model.done == []


def test_a_lease_can_be_extended(server, clock) -> None:
    stream = Stream(server, job(lease_seconds=30))
    until(lambda: server.health()["state"] == "busy")
    extended = server.client.post("/renders/render/1", content=msgpack.packb({"lease_seconds": 60}))
    assert extended.status_code == 204
    clock.seconds += 31
    server.model.allow()

    stream.next("done")


def test_only_a_running_attempt_can_be_extended(server) -> None:
    body = msgpack.packb({"lease_seconds": 60})
    assert post(server, "/renders/render/1", body) == (404, "not_found")
    Stream(server, job())
    until(lambda: server.health()["state"] == "busy")

    assert post(server, "/renders/render/2", body) == (404, "not_found")
    assert post(server, "/renders/render/1", msgpack.packb({})) == (422, "malformed")
    assert post(server, "/renders/render/1", msgpack.packb({"lease_seconds": "long"})) == (422, "malformed")


def test_renders_take_turns(server) -> None:
    first, second = Stream(server, job()), None
    until(lambda: server.health()["state"] == "busy")
    second = Stream(server, job(render_id="another"))

    second.next("waiting")
    assert server.health()["waiting"] == 1
    server.model.allow()
    first.next("done")
    second.next("done")
    assert server.model.done == [(chunk, step) for chunk in range(3) for step in range(STEPS)] * 2


def test_a_newer_attempt_takes_the_gpu_and_an_older_one_is_refused(server) -> None:
    first = Stream(server, job(attempt=1))
    server.model.allow(1)
    first.next("step")

    second = Stream(server, job(attempt=2))
    second.next("waiting")
    server.model.allow()

    assert first.next("error")["detail"] == "claimed anew"
    second.next("done")
    assert post(server, "/renders", msgpack.packb(job(attempt=1))) == (409, "stale_token")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"\xc1 no MessagePack", "malformed"),
        (msgpack.packb([1, 2]), "malformed"),
        (msgpack.packb({}), "malformed"),
        (msgpack.packb(job(size=[64])), "malformed"),
        (msgpack.packb(job(crop=[0, 0, 64])), "malformed"),
        (msgpack.packb(job(crop=[0, -1, 64, 64])), "malformed"),
        (msgpack.packb(job(settings={"unknown": 1})), "malformed"),
        (msgpack.packb(job(video_end="backwards")), "malformed"),
        (msgpack.packb(job(speaker_boxes=[0, 0, 64, 64])), "malformed"),
        (msgpack.packb(job(speaker_boxes=[[BOX], []])), "malformed"),
        (msgpack.packb(job(speaker_boxes=[[BOX], [[0, 0, 64]]])), "malformed"),
        (msgpack.packb(job(speaker_boxes=[[BOX], [[64, 0, 0, 64]]])), "malformed"),
        (msgpack.packb(job(speaker_boxes=[[BOX], [[0, 0, float("nan"), 64]]])), "malformed"),
        (msgpack.packb(job(speaker_boxes=[[BOX]], voices=["/a.wav", "/b.wav"])), "speakers_invalid"),
        (msgpack.packb(job(speaker_boxes=[[BOX], [BOX]], voices=[])), "speakers_invalid"),
        (msgpack.packb(job(speaker_boxes=[[BOX]] * 3)), "speakers_invalid"),
        (msgpack.packb(job(lora="unknown")), "lora_unknown"),
        (msgpack.packb(job(voices=[])), "speakers_invalid"),
        (msgpack.packb(job(checkpoint=b"no checkpoint")), "checkpoint_invalid"),
    ],
)
def test_what_is_no_job_is_refused(server, body, code) -> None:
    assert post(server, "/renders", body) == (422, code)
    assert server.health()["waiting"] == 0


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (InvalidInput("image_invalid", "Too long."), "image_invalid"),
        (InfiniteTalkError("gpu_out_of_memory", "No room."), "gpu_out_of_memory"),
        (InvalidCheckpoint("file_damaged", "fast.safetensors is empty."), "model_file_missing"),
        (RuntimeError("A bug."), "internal"),
        (OSError(errno.ENOSPC, "No space left on device"), "machine_failed"),
        (_caused(InvalidInput("image_invalid", "x"), OSError(errno.EMFILE, "Too many open files")), "machine_failed"),
        (_caused(InvalidInput("video_invalid", "x"), OSError(errno.EIO, "Input/output error")), "video_invalid"),
    ],
)
def test_a_fault_ends_its_render_and_nothing_else(server, fault, code) -> None:
    server.model.fault = fault
    server.model.allow()

    assert Stream(server, job()).next("error")["code"] == code
    Stream(server, job(render_id="another")).next("done")
    assert server.metric(f'infinitetalk_renders_total{{outcome="{code}"}}') == 1
    assert not server.fatal.is_set()


def test_after_a_fault_of_the_gpu_the_process_must_end(server) -> None:
    server.model.fault = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    server.model.allow()

    assert Stream(server, job()).next("error")["code"] == "gpu_failed"
    assert server.fatal.wait(20)


def test_a_client_that_does_not_read_holds_the_render_up(server, monkeypatch) -> None:
    monkeypatch.setattr(SteppedModel, "render", big_chunks)
    server.model.made = 0
    with server.client.stream("POST", "/renders", content=msgpack.packb(job())) as response:
        until(lambda: server.model.made >= 2)
        time.sleep(0.3)
        assert server.model.made <= 4
        count = 0
        unpacker = msgpack.Unpacker(max_buffer_size=0)
        for piece in response.iter_raw():
            unpacker.feed(piece)
            count += sum(message["type"] == "chunk" for message in unpacker)
    assert count == 12


def big_chunks(self, job: Any, check: Callable[[], None], on_step: Callable[[int, int], None]) -> Iterator[Any]:
    for chunk in range(12):
        self.made += 1
        frames = np.zeros((16, 256, 256, 3), np.uint8)  # more than a socket takes
        yield GeneratedChunk(chunk, frames, ResumePoint(chunk + 1, torch.zeros(1, 3, 5, 4, 4)))
