import wave
from collections.abc import Iterable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
import skimage.data
from hibari import Hibari
from PIL import Image

from render.engines.base import FPS, Engine, RenderInputs, RenderPlan
from render.engines.draft.engine import DraftEngine
from render.frame.found_faces import find_faces
from render.frame.shot import Shot, plan_shot
from render.parameters import Parameters
from tests.engines import FreeLease

SAMPLE_RATE = 16_000


def write_voice(path: Path, samples: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as voice:
        voice.setnchannels(1)
        voice.setsampwidth(2)
        voice.setframerate(SAMPLE_RATE)
        voice.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def write_video(path: Path, frames: Iterable[np.ndarray], height: int, width: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "19"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def inputs(picture: Path, *voices: Path) -> RenderInputs:
    is_video = picture.suffix == ".mp4"
    return RenderInputs(
        portrait=None if is_video else picture, video=picture if is_video else None, voices=voices, prompt=""
    )


def shot_of(given: RenderInputs, parameters: Parameters, engine: Engine | None = None, speakers: Sequence = ()) -> Shot:
    """The shot of a source, as the step `prepare` decides it."""
    count = len(given.voices)
    path = given.portrait or given.video
    assert path is not None
    source = find_faces(path, is_video=given.video is not None, count=count)
    pixels = (engine or DraftEngine()).pixels(parameters.resolution)
    return plan_shot(source, parameters, speakers, num_voices=count, pixels=pixels)


def plan_of(given: RenderInputs, parameters: Parameters, engine: Engine | None = None) -> RenderPlan:
    engine = engine or DraftEngine()
    return engine.plan(given, parameters, shot_of(given, parameters, engine))


def render(given: RenderInputs, speakers: Sequence = (), **parameters) -> tuple[RenderPlan, np.ndarray]:
    """The plan and all frames, T x H x W x 3."""
    engine, resolved = DraftEngine(), Parameters(seed=7, **parameters)
    plan = engine.plan(given, resolved, shot_of(given, resolved, engine, speakers))
    return plan, np.concatenate(
        [segment.frames for segment in engine.segments(given, resolved, plan, None, FreeLease())]
    )


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("draft")


@pytest.fixture(scope="session")
def speech(folder: Path) -> Path:
    """Five seconds of English with pauses, from a voice model."""
    spoken = Hibari()("Good morning. My name is Maria, and I will show you how this works. Boom!", seed=0)
    times = np.arange(int(len(spoken) * SAMPLE_RATE / 24_000)) / SAMPLE_RATE
    return write_voice(folder / "speech.wav", np.interp(times, np.arange(len(spoken)) / 24_000, spoken))


@pytest.fixture(scope="session")
def silence(folder: Path) -> Path:
    return write_voice(folder / "silence.wav", np.zeros(2 * SAMPLE_RATE))


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """A smiling woman's head, 300 x 300: Eileen Collins, NASA, public domain."""
    return np.ascontiguousarray(skimage.data.astronaut()[0:300, 75:375])


@pytest.fixture(scope="session")
def portrait(folder: Path, astronaut: np.ndarray) -> Path:
    Image.fromarray(astronaut).save(folder / "portrait.png")
    return folder / "portrait.png"


@pytest.fixture(scope="session")
def couple(folder: Path, astronaut: np.ndarray) -> Path:
    """Two people side by side."""
    Image.fromarray(np.concatenate([astronaut, astronaut[:, ::-1]], axis=1)).save(folder / "couple.png")
    return folder / "couple.png"


@pytest.fixture(scope="session")
def film(folder: Path) -> Path:
    """One second in which the camera pans over the astronaut and for six frames shows nothing."""
    picture = skimage.data.astronaut()
    frames = [np.ascontiguousarray(picture[0:300, 60 + index : 360 + index]) for index in range(FPS)]
    frames[10:16] = [np.full((300, 300, 3), 90, np.uint8)] * 6
    return write_video(folder / "film.mp4", frames, 300, 300)
