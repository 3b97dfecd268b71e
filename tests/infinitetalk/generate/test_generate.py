"""The command line on a tiny random checkpoint: out comes noise, but of the right length, and always the same."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from diffusers.models.attention_dispatch import _AttentionBackendRegistry
from PIL import Image

from infinitetalk.__main__ import main
from infinitetalk.checkpoints import pipeline_from_files
from tests.infinitetalk.conditioning.test_source import write_film
from tests.infinitetalk.conftest import FRAMES
from tests.render.conftest import write_voice


def _arguments(weights: Path, portrait: Path, voice: Path, output: Path) -> list[str]:
    arguments = ["generate", "--weights", weights, "--image", portrait, "--audio", voice, "-o", output, "--seed", 7]
    arguments += ["--preset", "fast", "--sample-steps", 2, "--dtype", "float32", "--device", "cpu"]
    return [str(argument) for argument in arguments]


@pytest.fixture(scope="module", autouse=True)
def _encoders_loaded_once() -> Iterator[None]:
    """Loading them takes longer than all the rest, and a run does not change them."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(pipeline_from_files, "load_encoders", cache(pipeline_from_files.load_encoders))
        yield


@pytest.fixture
def generate(weights: Path, portrait: Path, voice: Path, tmp_path: Path, capsys):
    def run(*more: object, image: Path = portrait, audio: Path = voice, output: str = "out.mp4") -> tuple[int, Path]:
        path = tmp_path / output
        # What is given twice counts as it is given last.
        return main([*_arguments(weights, image, audio, path), *map(str, more)]), path

    return run


@pytest.fixture(scope="module")
def film(weights: Path, portrait: Path, voice: Path, tmp_path_factory) -> Path:
    """What `generate` makes if nothing else is asked for."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    assert main(_arguments(weights, portrait, voice, path)) == 0
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as film:
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]


def test_it_makes_a_film_as_long_as_the_voice(film: Path) -> None:
    with av.open(str(film)) as opened:
        assert opened.streams.video[0].average_rate == 25
        assert opened.streams.audio[0].codec_context.name == "aac"
        assert opened.duration / 1e6 == pytest.approx(FRAMES / 25, abs=0.04)
    assert len(frames_of(film)) == FRAMES


@pytest.mark.slow
def test_a_film_stopped_after_any_chunk_goes_on_in_another_process(
    generate, film: Path, weights: Path, portrait: Path, voice: Path, tmp_path: Path
) -> None:
    for stop in (1, 2):
        chunks = tmp_path / f"chunks-{stop}"
        _, path = generate("--chunks", chunks, "--stop-after", stop, output=f"stopped-{stop}.mp4")
        assert not path.exists()
        assert len(list(chunks.glob("*.checkpoint"))) == stop

        command = [sys.executable, "-m", "infinitetalk", *_arguments(weights, portrait, voice, path)]
        subprocess.run([*command, "--chunks", str(chunks)], check=True, capture_output=True)

        assert sha256(path) == sha256(film)


def test_the_same_seed_makes_the_same_film_and_another_seed_another(generate, film: Path) -> None:
    _, same = generate(output="same.mp4")
    _, other = generate("--seed", 8, output="other.mp4")

    assert sha256(same) == sha256(film)
    assert sha256(other) != sha256(film)


def test_a_voice_shorter_than_a_chunk_makes_as_short_a_film(generate, tmp_path: Path) -> None:
    status, path = generate(audio=write_voice(tmp_path / "short.wav", 0.3))

    assert status == 0
    assert len(frames_of(path)) == 7


def test_a_silent_voice_makes_a_film(generate, tmp_path: Path) -> None:
    silent = write_voice(tmp_path / "silent.wav", 0.5)
    with av.open(str(silent), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 16_000
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))

    status, path = generate(audio=silent)

    assert (status, len(frames_of(path))) == (0, 12)


@pytest.mark.parametrize(("size", "expected"), [((1, 1), (48, 48)), ((400, 100), (16, 64))])
def test_odd_pictures_get_the_nearest_shape(generate, tmp_path: Path, size, expected) -> None:
    Image.new("RGB", size, "teal").save(tmp_path / "odd.png")

    status, path = generate("--frame-num", 5, image=tmp_path / "odd.png")

    assert status == 0
    assert {frame.shape[:2] for frame in frames_of(path)} == {expected}


@pytest.mark.parametrize("order", ["right_left", "meanwhile"])
def test_two_people_talk_in_each_order(generate, tmp_path: Path, order: str) -> None:
    second = write_voice(tmp_path / "second.wav", 0.41)

    status, path = generate("--audio-2", second, "--audio-order", order, "--lora-scale", 0.5)

    assert status == 0
    assert len(frames_of(path)) == (FRAMES if order == "meanwhile" else FRAMES + 10)


def test_half_precision_and_a_chosen_attention_work(generate, monkeypatch) -> None:
    # diffusers keeps the last choice for the whole process.
    monkeypatch.setattr(_AttentionBackendRegistry, "_active_backend", _AttentionBackendRegistry._active_backend)

    status, path = generate("--dtype", "bfloat16", "--attention", "_native_math", "--frame-num", 9)

    assert (status, len(frames_of(path))) == (0, 9)


def test_a_merged_file_gives_the_same_film(generate, weights: Path, tmp_path: Path) -> None:
    merged = tmp_path / "merged.safetensors"
    assert main(["merge", "--weights", str(weights), "--preset", "fast", "-o", str(merged)]) == 0

    _, one = generate("--dtype", "bfloat16", "--frame-num", 9, output="one.mp4")
    _, other = generate("--dtype", "bfloat16", "--frame-num", 9, "--merged", merged, output="other.mp4")

    assert sha256(one) == sha256(other)


def test_every_kind_of_guidance_works(generate) -> None:
    status, path = generate(
        "--preset", "quality", "--sample-steps", 7, "--frame-num", 17, "--color-correction-strength", 1
    )

    assert (status, len(frames_of(path))) == (0, 17)


def test_a_speaker_may_have_several_boxes(generate, voice: Path) -> None:
    boxes = ("--box", "0,0,120,40", "--box", "0,60,60,100", "60,60,120,100")
    two = ("--audio-2", voice, "--audio-order", "meanwhile", "--frame-num", 5)

    films = [frames_of(generate(*two, *more, output=f"{number}.mp4")[1]) for number, more in enumerate([(), boxes])]

    assert not np.array_equal(*films)


def test_a_video_is_dubbed(generate, film: Path) -> None:
    status, path = generate(image=film)

    assert (status, len(frames_of(path))) == (0, FRAMES)


def test_a_video_that_is_too_short_ends_as_asked(generate, tmp_path: Path) -> None:
    short = write_film(tmp_path / "short.mp4", frames=4)

    held, looped = (
        frames_of(generate(*more, "--frame-num", 13, image=short, output=f"{len(more)}.mp4")[1])
        for more in ((), ("--video-end", "loop"))
    )

    assert len(held) == len(looped) == 13
    assert np.array_equal(held[:9], looped[:9])  # those of the first chunk
    assert not np.array_equal(held, looped)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--audio", "missing.wav"), "audio_invalid"),
        (("--image", "missing.png"), "image_invalid"),
        (("--stop-after", 1), "chunks_needed"),
        (("--box", "0,0,10,10", "--box", "0,0,10,10"), "speakers_invalid"),
        (("--weights", "nowhere"), "file_missing"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(generate, capsys, arguments, code: str) -> None:
    status, path = generate(*arguments)

    assert status == 2
    assert not path.exists()
    assert capsys.readouterr().err.startswith(f"{code}: ")


def test_a_speaker_outside_the_picture_is_named(generate, voice: Path, capsys) -> None:
    status, _ = generate("--audio-2", voice, "--box", "0,0,1,1", "--box", "0,50,60,100", "60,50,120,100")

    assert status == 2
    assert "first speaker" in capsys.readouterr().err
