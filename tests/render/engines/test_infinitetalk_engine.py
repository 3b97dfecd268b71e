"""The bridge to the model server: it plans as the model does, and knows what the server's answers mean."""

import asyncio
import dataclasses
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgpack
import numpy as np
import pytest
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from accounts.errors import ServiceError
from infinitetalk.buckets import PUBLISHED_SIZES, plan_chunks
from infinitetalk.checkpoints.hub import PRESET_LORAS
from infinitetalk.conditioning import image
from infinitetalk.presets import PRESETS as MODEL_PRESETS
from infinitetalk.sampling.settings import Settings
from infinitetalk.server.protocol import RenderJob
from infinitetalk.server.variants import PLAIN_VARIANTS, SCALED_VARIANTS
from render.engines import infinitetalk as bridge
from render.engines.base import Checkpoint, RenderInputs
from render.engines.faces import FaceFinder
from render.engines.infinitetalk import InfiniteTalkEngine
from render.engines.model_server_errors import ModelServerError, ServerLost
from render.fence import Fenced
from render.frame.fit import fit
from render.frame.size import ASPECT_RATIOS, frame_size
from render.node_faults import NodeFault
from render.parameters import PRESETS, Parameters
from tests.engines import FreeLease
from tests.render.conftest import write_voice
from tests.render.engines.conftest import plan_of

HANG = {"type": "hang"}  # Nothing more comes.
PAUSE = {"type": "pause"}
FRAMES_OF_CHUNK = [81, 72, 7]


class FakeServer:
    """Answers each job with the next of `scripts`: messages, after the last of which the connection breaks or ends."""

    def __init__(self) -> None:
        self.scripts: list[list[dict]] = []
        self.jobs: list[dict] = []
        self.extensions: list[tuple[str, dict]] = []
        self.gone = threading.Event()
        self.state = "ready"
        self.more_health: dict = {}

    async def render(self, request: Request) -> Response:
        self.jobs.append(msgpack.unpackb(await request.body()))
        script = self.scripts.pop(0)
        if "status" in script[0]:
            return Response(msgpack.packb(script[0]), script[0]["status"])
        return StreamingResponse(self._play(script))

    async def _play(self, script: list[dict]):  # type: ignore[no-untyped-def]
        try:
            for message in script:
                if message == HANG:
                    await asyncio.Event().wait()
                if message == PAUSE:
                    await asyncio.sleep(0.01)
                    continue
                yield msgpack.packb(message)
            if script[-1]["type"] not in ("done", "error"):
                raise ConnectionAbortedError
        finally:
            self.gone.set()

    async def extend(self, request: Request) -> Response:
        self.extensions.append((request.url.path, msgpack.unpackb(await request.body())))
        return Response(status_code=204)

    async def health(self, request: Request) -> Response:
        return JSONResponse(
            {"state": self.state, "gpu": "NVIDIA L40S", "plan": "fp8", "unloadable": {}, **self.more_health}
        )


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[tuple[Starlette, Path]]:
    """An application without routes and the socket at which it is served. To start and end it takes 0.2 s."""
    path = tmp_path_factory.mktemp("served") / "model.sock"
    app = Starlette()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        running = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        thread = threading.Thread(target=running.run, args=[[listener]])
        thread.start()
        while not running.started:
            time.sleep(0.01)
        yield app, path
        running.should_exit = True
        thread.join()


@pytest.fixture
def server(served: tuple[Starlette, Path], tmp_path: Path) -> FakeServer:
    app, path = served
    fake = FakeServer()
    app.router.routes[:] = [
        Route("/renders", fake.render, methods=["POST"]),
        Route("/renders/{render}/{attempt}", fake.extend, methods=["POST"]),
        Route("/health", fake.health),
    ]
    (tmp_path / "model.sock").symlink_to(path)
    return fake


@pytest.fixture
def engine(tmp_path: Path) -> InfiniteTalkEngine:
    return InfiniteTalkEngine(socket=str(tmp_path / "model.sock"))


@pytest.fixture
def inputs(tmp_path: Path) -> RenderInputs:
    # In the shape of a film in 480p, of which nothing is cut off: so no face is searched for.
    Image.new("RGB", (352, 288), "teal").save(tmp_path / "portrait.png")
    voice = write_voice(tmp_path / "voice.wav", 6.4)
    return RenderInputs(portrait=tmp_path / "portrait.png", video=None, voices=(voice,), prompt="A person is talking.")


class LostLease(FreeLease):
    """Lost as soon as anything was reported."""

    reported = False

    def check(self) -> None:
        if self.reported:
            raise Fenced

    def report(self, rendered: float) -> None:
        self.reported = True


class ListeningLease(FreeLease):
    def __init__(self) -> None:
        self.reports: list[float] = []

    def report(self, rendered: float) -> None:
        self.reports.append(rendered)


def chunk(index: int) -> dict:
    shape = [FRAMES_OF_CHUNK[index], 2, 4, 3]
    frames = np.full(shape, index, np.uint8).tobytes()
    return {"type": "chunk", "index": index, "shape": shape, "frames": frames, "checkpoint": b"after %d" % index}


def segments(engine, inputs, parameters=None, resume=None, lease=None) -> list:
    parameters = parameters or Parameters(seed=1)
    plan = plan_of(inputs, parameters, engine)
    return list(engine.segments(inputs, parameters, plan, resume, lease or FreeLease()))


@pytest.mark.parametrize("num_frames", [1, 5, 40, 80, 81, 82, 90, 153, 154, 1000])
def test_it_plans_the_models_own_chunks(engine, inputs, num_frames) -> None:
    plan = plan_of(inputs, Parameters(seed=1, frame_num=num_frames), engine)

    chunks = plan_chunks(num_frames)
    assert [(span.start, span.stop) for span in plan.segments] == [
        (chunk.start + chunk.keep_from, min(chunk.stop, num_frames)) for chunk in chunks
    ]
    assert plan.num_frames == num_frames


def test_a_portrait_without_a_known_face_is_accepted(engine, inputs) -> None:
    """It may be a drawing, which the model animates."""
    Image.new("RGB", (400, 300), "teal").save(inputs.portrait)  # faces are searched for, because it will be cropped
    assert FaceFinder().find(np.asarray(Image.open(inputs.portrait))) == []

    assert plan_of(inputs, Parameters(seed=1), engine).crop is None


def test_without_a_forced_length_a_film_is_as_long_as_its_voice(engine, inputs) -> None:
    plan = plan_of(inputs, Parameters(seed=1), engine)

    assert (plan.num_frames, plan.height, plan.width) == (160, 576, 704)


@pytest.mark.parametrize("aspect_ratio", ASPECT_RATIOS)
def test_the_service_and_the_model_frame_a_picture_alike(aspect_ratio) -> None:
    generator = np.random.default_rng(0)
    for height, width in [(300, 400), (401, 399), (1000, 250), (97, 333)]:
        given = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        size = frame_size(height, width, aspect_ratio, PUBLISHED_SIZES.pixels("480p"))
        tensor = image.resize_and_crop(given, size)[0, :, 0].permute(1, 2, 0).numpy()
        assert np.array_equal(fit(given, *size), ((tensor / 2 + 0.5) * 255).round().astype(np.uint8))


@pytest.mark.parametrize("resolution", ["480p", "720p"])
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_means_the_same_to_both(engine, server, inputs, preset, resolution) -> None:
    server.scripts = [[chunk(0), chunk(1), chunk(2), {"type": "done"}]]
    segments(engine, inputs, Parameters.resolve({"seed": 1, "preset": preset, "resolution": resolution}))

    [job] = server.jobs
    sent = Settings(**job["settings"])
    # The service does not send the kind of guidance: the model server has a default.
    alone = Settings.of_preset(MODEL_PRESETS[preset], resolution)
    assert sent == replace(alone, projected_guidance=sent.projected_guidance)
    assert (preset, resolution) != ("quality", "720p") or sent.flow_shift == 11.0
    assert job["lora"] == MODEL_PRESETS[preset].lora == (preset if preset in PRESET_LORAS else None)


@pytest.mark.parametrize("crop", [None, (0, 100, 300, 300)])
def test_the_server_is_told_which_part_is_shown(engine, server, inputs, crop) -> None:
    server.scripts = [[chunk(0), chunk(1), chunk(2), {"type": "done"}]]
    plan = replace(plan_of(inputs, Parameters(seed=1), engine), crop=crop)

    list(engine.segments(inputs, Parameters(seed=1), plan, None, FreeLease()))

    [job] = server.jobs
    assert job["crop"] == (crop and list(crop))


def test_frames_and_checkpoints_come_through(engine, server, inputs) -> None:
    step = {"type": "step", "chunk": 1, "step": 4, "steps": 7}
    server.scripts = [[{"type": "waiting"}, chunk(0), step, {"type": "alive"}, chunk(1), chunk(2), {"type": "done"}]]
    lease = ListeningLease()

    rendered = segments(engine, inputs, lease=lease)

    assert [segment.index for segment in rendered] == [0, 1, 2]
    assert [segment.frames.shape for segment in rendered] == [(number, 2, 4, 3) for number in FRAMES_OF_CHUNK]
    assert all((segment.frames == segment.index).all() for segment in rendered)
    assert [segment.checkpoint for segment in rendered] == [Checkpoint(n + 1, b"after %d" % n) for n in range(3)]
    assert lease.reports == [(1 + 4 / 7) / 3]
    assert server.jobs[0]["size"] == [576, 704]


def test_a_render_goes_on_where_an_earlier_attempt_ended(engine, server, inputs) -> None:
    server.scripts = [[chunk(2), {"type": "done"}]]

    assert [segment.index for segment in segments(engine, inputs, resume=Checkpoint(2, b"after 1"))] == [2]
    assert server.jobs[0]["checkpoint"] == b"after 1"
    assert segments(engine, inputs, resume=Checkpoint(3, b"after 2")) == []


@pytest.mark.parametrize(
    "end",
    [
        {"type": "alive"},  # The connection breaks after it.
        {"type": "error", "code": "gpu_failed", "detail": "The GPU failed."},
        {"type": "error", "code": "aborted", "detail": "not extended in time"},
    ],
)
def test_a_lost_server_is_asked_again_for_what_is_missing(engine, server, inputs, end) -> None:
    server.scripts = [[chunk(0), end], [end], [chunk(1), end], [chunk(2), {"type": "done"}]]

    assert [segment.index for segment in segments(engine, inputs)] == [0, 1, 2]
    assert [job["checkpoint"] for job in server.jobs] == [None, b"after 0", b"after 0", b"after 1"]


def test_a_server_that_is_lost_again_and_again_ends_the_attempt(engine, server, inputs) -> None:
    server.scripts = [[{"type": "alive"}]] * bridge.LOSSES_IN_A_ROW

    with pytest.raises(ServerLost):
        segments(engine, inputs)


def test_a_server_that_does_not_come_back_ends_the_attempt(engine, inputs, monkeypatch) -> None:
    monkeypatch.setattr(bridge, "PATIENCE_SECONDS", 0.0)

    with pytest.raises(ServerLost):
        segments(engine, inputs)


@pytest.mark.parametrize(
    ("code", "raised", "param"),
    [
        ("gpu_out_of_memory", "gpu_out_of_memory", None),
        ("image_invalid", "image_invalid", "image_url"),
        ("video_invalid", "video_invalid", "image_url"),
        ("audio_invalid", "audio_invalid", "audio_url"),
        ("audio_empty", "audio_empty", "audio_url"),
    ],
)
def test_what_another_try_would_not_mend_fails_with_its_code(engine, server, inputs, code, raised, param) -> None:
    server.scripts = [[{"type": "error", "code": code, "detail": "So it is."}]]

    with pytest.raises(ServiceError) as caught:
        segments(engine, inputs)
    assert (caught.value.code, caught.value.param) == (raised, param)
    assert "So it is." not in caught.value.detail  # It may name files of the machine.
    assert "So it is." in str(caught.value.__cause__)  # So the trace, for staff, has it.


@pytest.mark.parametrize(
    "answer",
    [
        {"type": "error", "code": "not_finite", "detail": "No numbers."},
        {"status": 409, "code": "stale_token", "detail": "Claimed anew."},
        {"status": 422, "code": "malformed", "detail": "No job."},
    ],
)
def test_anything_else_is_an_internal_error_that_tells_what_was_said(engine, server, inputs, answer) -> None:
    server.scripts = [[answer]]

    with pytest.raises(ModelServerError, match=answer["detail"]):
        segments(engine, inputs)


def test_a_lost_render_is_let_go_of_at_once(engine, server, inputs) -> None:
    server.scripts = [[{"type": "step", "chunk": 0, "step": 1, "steps": 8}, HANG]]

    with pytest.raises(Fenced):
        segments(engine, inputs, lease=LostLease())
    assert server.gone.wait(10)


class ExpiringLease(FreeLease):
    """For how long it is held each time that it is asked: at first for almost no time, then for long."""

    def __init__(self) -> None:
        self.lefts = [0.003, 60.0]

    def seconds_left(self) -> float:
        return self.lefts.pop(0)


def test_the_server_is_told_that_the_render_is_still_held_before_the_lease_it_knows_of_ends(
    engine, server, inputs
) -> None:
    server.scripts = [[{"type": "alive"}, PAUSE, chunk(0), chunk(1), chunk(2), {"type": "done"}]]
    segments(engine, inputs, lease=ExpiringLease())

    assert server.jobs[0]["lease_seconds"] == 0.003
    # Once: the longer lease does not end for a while.
    assert server.extensions == [(f"/renders/{FreeLease.render_id}/1", {"lease_seconds": 60.0})]


def test_it_says_what_the_server_says_of_itself(engine, server) -> None:
    status = engine.status()

    assert (status.available, status.model_state, status.gpu, status.memory_plan) == (
        True,
        "ready",
        "NVIDIA L40S",
        "fp8",
    )


def test_it_says_which_variants_cannot_be_loaded(engine, server) -> None:
    assert engine.status().unloadable == {}
    server.more_health = {"unloadable": {"1-fast": "It is empty."}}

    assert engine.status().unloadable == {"1-fast": "It is empty."}


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("preset", [None, *PRESETS])
@pytest.mark.parametrize("speakers", [1, 2])
def test_the_service_and_the_model_call_a_variant_the_same(engine, inputs, tmp_path, speakers, preset, scale) -> None:
    parameters = Parameters.resolve({"seed": 1, "preset": preset, "lora_scale": scale})
    inputs = dataclasses.replace(inputs, voices=inputs.voices * speakers)

    job = RenderJob.from_message(
        engine._job(inputs, parameters, plan_of(inputs, parameters, engine), None, FreeLease())
    )

    assert plan_of(inputs, parameters, engine).variant == job.variant.name
    assert job.variant.name in {variant.name for variant in (*PLAIN_VARIANTS, *SCALED_VARIANTS)}


def test_a_bad_file_of_the_model_is_a_fault_of_the_node_for_this_variant(engine, server, inputs) -> None:
    server.scripts = [[{"type": "error", "code": "model_file_missing", "detail": "fast.safetensors is empty."}]]

    with pytest.raises(NodeFault, match="fast.safetensors is empty") as caught:
        segments(engine, inputs, Parameters.resolve({"seed": 1, "preset": "fast"}))
    assert caught.value.variant == "1-fast"


def test_while_it_loads_a_render_is_left_to_others(engine, server) -> None:
    server.state = "loading"

    assert (engine.status().available, engine.status().model_state) == (False, "loading")


def test_without_a_server_it_is_not_available(engine) -> None:
    status = engine.status()

    assert (status.available, status.model_state) == (False, "down")


@pytest.mark.parametrize("code", ["machine_failed", "file_unreadable", "attention_missing", "attention_unusable"])
def test_a_fault_of_the_machine_is_no_fault_of_the_render(engine, server, inputs, code) -> None:
    server.scripts = [[{"type": "error", "code": code, "detail": "No space left on device"}]]

    with pytest.raises(NodeFault, match="The model server: No space left on device"):
        segments(engine, inputs)
