"""What surrounds the person, from the request to the stored video: the engine is the draft, on the demo's portrait."""

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from accounts.models import Plan, UsageEntry
from creatorify.demo.media import write_portrait
from render.models import Render, State
from render.parameters import Parameters
from render.pipeline import runner
from render.storage import media
from render.storage.failures import Reason, StorageFailure

pytestmark = pytest.mark.django_db

FRAMES = 5
GREEN = "#00b140"


@pytest.fixture(scope="module")
def pictures(site, tmp_path_factory) -> dict[str, str]:
    """Addresses of the portrait, and of a picture without a person."""
    base_url, folder = site
    with Image.open(write_portrait(tmp_path_factory.mktemp("portrait") / "portrait.png")) as image:
        image.convert("RGB").save(folder / "person.png")
    Image.fromarray(np.linspace(0, 255, 320 * 320 * 3, dtype=np.uint8).reshape(320, 320, 3)).save(folder / "ramp.png")
    return {name: f"{base_url}/{name}.png" for name in ("person", "ramp")}


@pytest.fixture
def rendered(enqueue, claim, pictures, settings) -> Callable[..., Render]:
    def render(image: str = "person", *, engine: str = "draft", speakers: Sequence = (), **parameters) -> Render:
        resolved = Parameters.resolve({"seed": 1, "frame_num": FRAMES, **parameters})
        made = enqueue(engine=engine, image_url=pictures[image], speakers=list(speakers), parameters=resolved)
        runner.run(claim())
        made.refresh_from_db()
        assert (made.state, made.error_message) == (State.FINISHED, "")
        return made

    return render


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def codes(render: Render) -> list[str]:
    return [warning["code"] for warning in render.warnings]


def near(pixels: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool(np.abs(pixels.reshape(-1, 3).astype(int) - color).max() < 12)


def test_a_color_is_behind_the_person_in_every_frame(rendered, settings) -> None:
    render = rendered(background=GREEN)

    frames = frames_of(settings.MEDIA_ROOT / render.video_key)
    assert len(frames) == FRAMES and codes(render) == []
    assert all(near(frame[:40, :40], (0, 177, 64)) for frame in frames)
    assert not near(frames[0][300:340, 300:340], (0, 177, 64))


def test_what_is_cut_off_is_still_told_when_the_background_is_replaced(rendered) -> None:
    crop = rendered(aspect_ratio="9:16", background=GREEN).frame["crop"]

    assert crop["height"] == 1 and crop["width"] == pytest.approx(0.566, abs=0.01)


def test_where_nobody_is_found_the_picture_is_kept_and_it_is_told(rendered, settings) -> None:
    render = rendered("ramp", engine="instant", background=GREEN)

    assert codes(render) == ["no_person"]
    with Image.open(settings.MEDIA_ROOT / render.sources["portrait"]) as stored:
        assert stored.size == (640, 640) and not near(np.asarray(stored)[:20, :20], (0, 177, 64))


@pytest.mark.parametrize("background", ["keep", GREEN])
def test_a_padded_person_is_found_where_she_was_put(rendered, settings, background) -> None:
    """In the middle, and before another background at the bottom: the boxes of the speakers go with her."""
    person = {"x": 0.2, "y": 0.1, "width": 0.6, "height": 0.8}
    speakers = [{"audio": 1, "face": {"box": person}}]
    render = rendered(aspect_ratio="9:16", fit="pad", pad_color=None, background=background, speakers=speakers)

    [face] = render.sources["shown"]["faces"]
    frame = frames_of(settings.MEDIA_ROOT / render.video_key)[0]
    assert frame.shape[:2] == (848, 480) and (render.frame["width"], render.frame["height"]) == (480, 848)
    middle = face["y"] + face["height"] / 2
    assert middle > 0.5 if background == GREEN else middle < 0.5


def test_a_transparent_video_is_stored_beside_the_other(rendered, settings) -> None:
    render = rendered(background="transparent")

    with av.open(str(settings.MEDIA_ROOT / render.alpha_key)) as container:
        assert container.format.name == "matroska,webm"
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("vp9", "opus")
        assert video.metadata["ALPHA_MODE"] == "1"
    assert render.alpha_key != render.video_key and (settings.MEDIA_ROOT / render.video_key).exists()


@pytest.mark.parametrize("reason", [Reason.TOO_LARGE, Reason.UNAVAILABLE])
def test_a_storage_that_does_not_take_it_costs_no_finished_video(rendered, settings, monkeypatch, reason) -> None:
    settings.STORAGE_PATIENCE_SECONDS = 0
    real = media.store_video

    def store(path: Path, *others, **named) -> str:
        if path.suffix == ".webm":
            raise StorageFailure(reason, "no room for it")
        return real(path, *others, **named)

    monkeypatch.setattr(media, "store_video", store)
    render = rendered(background="transparent")

    assert (render.alpha_key, codes(render)) == ("", ["not_stored"])
    assert (settings.MEDIA_ROOT / render.video_key).exists()


def test_without_a_person_there_is_no_transparent_video(rendered) -> None:
    render = rendered("ramp", engine="instant", background="transparent")

    assert (render.alpha_key, codes(render)) == ("", ["no_person"])


def test_what_is_large_enough_costs_no_enlargement_nor_does_its_retry(enqueue, claim, pictures, acme) -> None:
    """The size is known when the render is prepared; the retry goes on from there."""
    Plan.objects.update(prices=acme.plan.prices | {"upscale": {"720p": 10}})
    parameters = Parameters.resolve({"seed": 1, "frame_num": FRAMES, "resolution": "720p", "upscale": "720p"})
    render = enqueue(engine="draft", image_url=pictures["person"], parameters=parameters)
    usage = UsageEntry.objects.filter(render_id=render.pk)
    assert usage.get().upscale == "720p"

    runner.run(claim())

    render.refresh_from_db()
    assert [warning["param"] for warning in render.warnings] == ["parameters.upscale"]
    assert (usage.get().upscale, render.parameters["upscale"]) == ("none", "none")


def test_the_video_is_enlarged_and_so_are_its_segments(rendered, acme, settings) -> None:
    Plan.objects.update(prices=acme.plan.prices | {"upscale": {"720p": 10}})
    render = rendered(upscale="720p")

    for key in (render.video_key, render.segments.get().key):
        assert frames_of(settings.MEDIA_ROOT / key)[0].shape == (720, 720, 3)
    assert (render.frame["width"], render.frame["height"], render.plan["width"]) == (720, 720, 640)
