"""`length: video`: the video is as long as the one that is dubbed, whatever the voice."""

import wave
from collections.abc import Callable

import av
import numpy as np
import pytest

from accounts.models import UsageEntry
from render.models import Render, State
from render.parameters import Parameters
from render.pipeline import runner
from tests.render.media_makers import film

pytestmark = pytest.mark.django_db

FRAMES = 60  # of the source video: 2.4 s


@pytest.fixture
def dub(enqueue, claim, site) -> Callable[..., Render]:
    """Dub a video with a voice, `voice.wav` of 4 s or `other-voice.wav` of 2 s."""
    base_url, folder = site
    (folder / "dubbed.mp4").write_bytes(film("mp4", "libx264", frames=FRAMES))

    def dub(voice: str, **parameters: str) -> Render:
        render = enqueue(
            image_url=f"{base_url}/dubbed.mp4",
            audio_url=f"{base_url}/{voice}",
            parameters=Parameters(seed=1, **parameters),
        )
        runner.run(claim())
        render.refresh_from_db()
        return render

    return dub


def sound_of(render: Render, settings) -> np.ndarray:
    """The loudness of each 25th of a second."""
    with av.open(str(settings.MEDIA_ROOT / render.video_key)) as file:
        samples = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
        rate = file.streams.audio[0].rate
    blocks = samples[: len(samples) // (rate // 25) * (rate // 25)].reshape(-1, rate // 25)
    return np.sqrt((blocks.astype(np.float64) ** 2).mean(axis=1))


def billed(render: Render) -> tuple[int, int]:
    """Seconds, held after the step `prepare` and billed at the end."""
    entry = UsageEntry.objects.get(render_id=render.pk)
    return entry.reserved_seconds, entry.billed_seconds


def engines_voice(render: Render, settings) -> np.ndarray:
    with wave.open(str(settings.MEDIA_ROOT / render.sources["voices"][0])) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def test_after_a_shorter_voice_it_is_silent_for_the_listener_and_for_the_engine(dub, settings) -> None:
    render = dub("other-voice.wav", length="video")

    assert (render.state, render.num_frames, render.duration_seconds) == (State.FINISHED, FRAMES, FRAMES / 25)
    assert billed(render) == (3, 3)
    sound = sound_of(render, settings)
    assert abs(len(sound) - FRAMES) <= 1
    assert sound[2:49].min() > 0.05
    assert sound[52:].max() < 0.001
    heard = engines_voice(render, settings)
    assert len(heard) == FRAMES / 25 * 16_000
    assert np.abs(heard[:32_000]).max() > 1000
    assert not heard[32_000:].any()
    assert render.warnings == []


def test_what_is_not_heard_of_a_longer_voice_is_told(dub, settings) -> None:
    render = dub("voice.wav", length="video")

    assert (render.state, render.num_frames) == (State.FINISHED, FRAMES)
    assert billed(render) == (3, 3)
    sound = sound_of(render, settings)
    assert abs(len(sound) - FRAMES) <= 1
    assert sound[2:-2].min() > 0.05
    [warning] = render.warnings
    assert (warning["param"], warning["code"]) == ("parameters.length", "voice_cut")
    assert "The last 1.6 s of the voice are not heard" in warning["detail"]


@pytest.mark.parametrize(("most", "code"), [(2, "video_too_long"), (3, "")])
def test_a_video_that_is_longer_than_a_voice_may_be_is_refused(dub, acme, most: int, code: str) -> None:
    acme.plan.max_audio_seconds = most
    acme.plan.save(update_fields=["max_audio_seconds"])

    render = dub("other-voice.wav", length="video")

    assert render.error_code == code
    if code:
        assert (render.state, render.error_param) == (State.FAILED, "image_url")
        assert billed(render)[1] == 0
