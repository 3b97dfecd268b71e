"""The model that stays loaded, with tiny networks: one load for many renders, other plans when memory runs out."""

import shutil
import wave
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infinitetalk.acceleration.memory_plan import PLANS
from infinitetalk.checkpoints.load_transformer import LoraFile
from infinitetalk.checkpoints.merge import merge
from infinitetalk.errors import InfiniteTalkError, InvalidInput
from infinitetalk.sampling.resume_point import ResumePoint
from infinitetalk.server import loaded_model
from infinitetalk.server.loaded_model import Readiness
from infinitetalk.server.model import ModelWorker
from infinitetalk.server.protocol import RenderJob
from infinitetalk.server.runtime_options import RuntimeOptions
from infinitetalk.server.variants import Variant, VariantLoader
from infinitetalk.video_end import VIDEO_ENDS, source_frame
from tests.infinitetalk.conditioning.test_source import write_film
from tests.infinitetalk.conftest import CHUNKS, FRAMES
from tests.infinitetalk.server.test_app import SETTINGS, job
from tests.render.conftest import write_voice

CPU = torch.device("cpu")
RUNTIME = RuntimeOptions(CPU, torch.float32, torch.float32, "native", compiled=False)


@pytest.fixture(scope="module", autouse=True)
def _quick_loads() -> Iterator[None]:
    """gc.collect() takes longer than loading tiny networks, and the encoders, which no test changes, longer than the
    transformer.
    """
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(ModelWorker, "_free", lambda self: None)
        monkeypatch.setattr(loaded_model, "load_encoders", cache(loaded_model.load_encoders))
        yield


@pytest.fixture(scope="module")
def start(weights: Path) -> Callable[[], ModelWorker]:
    def start() -> ModelWorker:
        model = ModelWorker(weights, VariantLoader(weights, [], torch.float32, CPU), RUNTIME, PLANS["resident"])
        model.start(Variant(lora=None)).result(60)
        return model

    return start


@pytest.fixture(scope="module")
def started(start) -> ModelWorker:
    """For tests that leave it as it was."""
    return start()


@pytest.fixture
def ask(portrait: Path, voice: Path) -> Callable[..., RenderJob]:
    def ask(**overrides: Any) -> RenderJob:
        settings = {**SETTINGS, **CHUNKS, "num_inference_steps": 2}
        given = {"source": str(portrait), "voices": [str(voice)], "settings": settings, "num_frames": FRAMES}
        return RenderJob.from_message(job(**{"size": [48, 32], **given, **overrides}))

    return ask


def render(model: ModelWorker, given: RenderJob, check: Callable[[], None] = lambda: None) -> list:
    return list(model.render(given, check, lambda chunk, step: None))


def frames(chunks: list) -> np.ndarray:
    return np.concatenate([chunk.frames for chunk in chunks])


def test_many_renders_load_once_and_another_variant_loads_anew(start, ask) -> None:
    model = start()
    films = [frames(render(model, ask(render_id=str(number)))) for number in range(2)]

    assert (model.loads, model.readiness) == (1, Readiness.READY)
    assert len(films[0]) == FRAMES
    assert all(np.array_equal(film, films[0]) for film in films)
    other = frames(render(model, ask(lora="standard")))
    assert model.loads == 2
    assert not np.array_equal(other, films[0])
    assert np.array_equal(frames(render(model, ask())), films[0])


def test_a_render_goes_on_from_any_chunk_to_the_same_frames(start, started, ask) -> None:
    whole = render(started, ask())
    other = start()

    assert len(whole) == 3
    for chunk in whole:
        resumed = render(other, ask(checkpoint=chunk.resume_point.to_bytes()))
        assert [later.index for later in resumed] == list(range(chunk.index + 1, 3))
        for later in resumed:
            assert np.array_equal(later.frames, whole[later.index].frames)


def test_files_that_the_worker_sees_and_the_model_server_does_not_are_not_the_customers_fault(started, ask) -> None:
    for files in ({"source": "/elsewhere/portrait.png"}, {"voices": ["/elsewhere/voice.wav"]}):
        with pytest.raises(InfiniteTalkError) as caught:
            render(started, ask(**files))
        assert caught.value.code == "file_unreadable"


def test_two_voices_take_the_file_for_two(start, ask, voice) -> None:
    model = start()

    chunks = render(model, ask(voices=[str(voice)] * 2, size=[48, 48]))  # In fewer pixels there is no room for two.

    assert len(frames(chunks)) == FRAMES
    assert model.variant == Variant(2, None)


@pytest.fixture
def ask_of_three(ask, tmp_path: Path) -> Callable[..., RenderJob]:
    """One voice in a picture of three people: everything but the faces of the other two is its speaker's."""

    def ask_of_three(**overrides: Any) -> RenderJob:
        everywhere, others = [0, 0, 120, 100], [[20, 5, 60, 35], [20, 65, 60, 95]]
        # 3 x 5 tokens in a size that is no bucket, and no background.
        given = {"size": [48, 80], "crop": [10, 0, 60, 100], "speaker_boxes": [[everywhere], others]}
        return ask(**{**given, **overrides})

    return ask_of_three


@pytest.fixture(scope="module")
def multi(start) -> ModelWorker:
    """With the file for two, for tests that leave it so."""
    model = start()
    model._use(Variant(2, None), PLANS["resident"])
    return model


def test_a_speaker_without_a_voice_is_a_silent_one(multi, ask_of_three, voice, tmp_path) -> None:
    silence = tmp_path / "silence.wav"
    with wave.open(str(voice)) as given, wave.open(str(silence), "wb") as file:
        file.setparams(given.getparams())
        file.writeframes(bytes(2 * given.getnframes()))

    film = frames(render(multi, ask_of_three()))

    assert film.shape == (FRAMES, 48, 80, 3)
    assert (multi.variant, multi.loads) == (Variant(2, None), 2)
    assert np.array_equal(film, frames(render(multi, ask_of_three(voices=[str(voice), str(silence)]))))
    assert not np.array_equal(film, frames(render(multi, ask_of_three(voices=[str(voice)] * 2))))


def test_whose_voice_it_is_and_what_it_says_changes_the_frames(multi, ask_of_three, tmp_path) -> None:
    other = write_voice(tmp_path / "other.wav", 0.2)  # then silence

    films = [
        frames(render(multi, ask_of_three(num_frames=9, **changes)))
        for changes in (
            {},
            {"voices": [str(other)]},
            {"speaker_boxes": ask_of_three().speaker_boxes[::-1]},
            {"speaker_boxes": [[[20, 35, 60, 65]], [[20, 5, 60, 35], [20, 65, 60, 95]]]},
        )
    ]

    for number, film in enumerate(films):
        assert not any(np.array_equal(film, earlier) for earlier in films[:number])


def test_without_boxes_of_a_second_speaker_the_job_takes_the_file_for_one(ask, ask_of_three) -> None:
    assert ask().variant.speakers == 1
    assert ask(speaker_boxes=[[[0, 0, 60, 60]]]).variant.speakers == 1
    assert ask_of_three().variant.speakers == 2


def test_a_video_shorter_than_the_voice_ends_as_asked(started, ask, tmp_path) -> None:
    film = write_film(tmp_path / "film.mp4", frames=4)  # The second chunk starts at frame 4, the third at 8.
    chunks = {end: render(started, ask(source=str(film), video_end=end)) for end in VIDEO_ENDS}

    assert [source_frame(4, 4, end) for end in VIDEO_ENDS] == [2, 0, 3]
    assert all(np.array_equal(of_end[0].frames, chunks["hold"][0].frames) for of_end in chunks.values())
    second = [of_end[1].frames for of_end in chunks.values()]
    assert not any(np.array_equal(*pair) for pair in combinations(second, 2))
    held = frames(render(started, ask(source=str(film))))
    assert np.array_equal(held, frames(chunks["hold"]))


def run_out_of_memory(monkeypatch, *, plans: set[str], chunk: int = 0) -> None:
    """With these plans, from a chunk on."""
    original = ModelWorker._render

    def run_out(self, given, plan, checkpoint, check, on_step):
        for made in original(self, given, plan, checkpoint, check, on_step):
            if plan.name in plans and made.index >= chunk:
                raise torch.OutOfMemoryError("CUDA out of memory")
            yield made

    monkeypatch.setattr(ModelWorker, "_render", run_out)


def test_out_of_memory_it_goes_on_after_the_last_chunk_with_the_plan_that_takes_less(
    start, started, ask, monkeypatch, caplog
) -> None:
    whole = frames(render(started, ask()))
    model = start()
    run_out_of_memory(monkeypatch, plans={"resident"}, chunk=1)

    chunks = render(model, ask())

    assert np.array_equal(frames(chunks), whole)
    assert [chunk.index for chunk in chunks] == [0, 1, 2]
    assert model.plan.name == "streamed"
    assert "Going on with the plan streamed" in caplog.text


def test_what_was_too_large_once_takes_the_smaller_plan_at_once_and_the_rest_the_usual_one(
    start, ask, monkeypatch
) -> None:
    model = start()
    run_out_of_memory(monkeypatch, plans={"resident"})
    render(model, ask())
    loads = model.loads
    render(model, ask())
    assert model.loads == loads
    monkeypatch.undo()

    render(model, ask(size=[32, 32]))

    assert model.plan.name == "resident"


def test_with_no_smaller_plan_left_it_says_so_and_renders_the_next_one(start, ask, monkeypatch) -> None:
    model = start()
    run_out_of_memory(monkeypatch, plans=set(PLANS))
    with pytest.raises(InfiniteTalkError) as caught:
        render(model, ask())
    assert caught.value.code == "gpu_out_of_memory"
    monkeypatch.undo()

    assert len(frames(render(model, ask(size=[32, 32])))) == FRAMES


def test_weights_that_do_not_fit_take_the_smaller_plan_from_the_start(weights, ask, monkeypatch) -> None:
    original = VariantLoader.load

    def load(self, variant, plan):
        if not plan.streamed:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, variant, plan)

    monkeypatch.setattr(VariantLoader, "load", load)
    model = ModelWorker(weights, VariantLoader(weights, [], torch.float32, CPU), RUNTIME, PLANS["resident"])

    model.start(Variant(lora=None)).result(60)

    assert model.plan.name == "streamed"
    assert len(frames(render(model, ask()))) == FRAMES


def test_a_render_that_is_asked_for_while_it_loads_waits_and_runs(weights, ask, monkeypatch) -> None:
    loaded: Future[None] = Future()
    original = VariantLoader.load
    monkeypatch.setattr(VariantLoader, "load", lambda *given: (loaded.result(60), original(*given))[1])
    model = ModelWorker(weights, VariantLoader(weights, [], torch.float32, CPU), RUNTIME, PLANS["resident"])
    model.start(Variant(lora=None))
    assert model.readiness == Readiness.LOADING
    checks = []

    def check() -> None:
        checks.append(model.readiness)
        if not loaded.done():
            loaded.set_result(None)

    assert len(frames(render(model, ask(), check))) == FRAMES
    assert checks[0] == Readiness.LOADING
    assert model.loads == 1


def test_damaged_weights_end_the_start(weights, tmp_path) -> None:
    shutil.copytree(weights, tmp_path / "weights")
    next((tmp_path / "weights").rglob("diffusion_pytorch_model-*.safetensors")).write_bytes(b"damaged")
    loader = VariantLoader(tmp_path / "weights", [], torch.float32, CPU)

    model = ModelWorker(tmp_path / "weights", loader, RUNTIME, PLANS["resident"])

    assert isinstance(model.start(Variant(lora=None)).exception(60), InfiniteTalkError)
    # transformers changes its classes while it loads, for all threads: the next test's models would be others.
    model._encoders.result(60)


@pytest.mark.parametrize("fp8", [False, True])
def test_a_merged_file_is_taken_for_its_variant_and_gives_the_same(weights, start, ask, tmp_path, fp8) -> None:
    path = tmp_path / "merged.safetensors"
    loader = VariantLoader(weights, [], torch.bfloat16, CPU)
    variant = Variant(lora="standard")
    loras = [file for file in loader.files(variant, PLANS["resident"]) if "lora" in str(file)]
    assert len(loras) == 1
    merge(weights, path, speakers=1, loras=[LoraFile(loras[0], 1.0)], fp8=fp8)
    merged = VariantLoader(weights, [path], torch.bfloat16, CPU)
    plan = PLANS["fp8" if fp8 else "resident"]

    assert merged.files(variant, plan) == [path]
    assert merged.files(Variant(lora="fast"), plan) != [path]
    assert merged.files(variant, PLANS["resident" if fp8 else "fp8"]) != [path]
    expected = loader.load(variant, plan).state_dict()
    loaded = merged.load(variant, plan).state_dict()
    assert all(torch.equal(loaded[key].float(), tensor.float()) for key, tensor in expected.items())


def test_unknown_variants_are_refused() -> None:
    for wrong in ({"lora": "unknown"}, {"speakers": 3}, {"speakers": 0}):
        with pytest.raises(InvalidInput):
            Variant(**wrong)


def test_a_checkpoint_of_another_size_is_refused(started, ask) -> None:
    motion = torch.zeros(1, 3, 5, 64, 64)

    with pytest.raises(InvalidInput, match="another size"):
        render(started, ask(checkpoint=ResumePoint(1, motion).to_bytes()))
