import numpy as np
import pytest

from render.frame.fit import fit
from render.frame.size import ASPECT_RATIOS, RATIOS, frame_size, upscaled_size
from render.parameters import Parameters

PIXELS = {"480p": 640 * 640, "720p": 960 * 960}


@pytest.mark.parametrize(
    ("aspect_ratio", "resolution", "expected"),
    [
        ("16:9", "480p", (480, 848)),
        ("9:16", "480p", (848, 480)),
        ("1:1", "480p", (640, 640)),
        ("4:5", "480p", (720, 576)),
        ("2:1", "480p", (448, 896)),
        ("16:9", "720p", (720, 1280)),
        ("1:1", "720p", (960, 960)),
    ],
)
def test_the_named_ratios(aspect_ratio, resolution, expected) -> None:
    assert frame_size(300, 400, aspect_ratio, PIXELS[resolution]) == expected


@pytest.mark.parametrize("source", [(1080, 1920), (4000, 3000), (3000, 4000), (512, 512), (683, 2048), (2048, 683)])
@pytest.mark.parametrize("resolution", PIXELS)
def test_the_shape_of_the_source_is_kept(source, resolution) -> None:
    height, width = frame_size(*source, "source", PIXELS[resolution])

    assert height % 16 == width % 16 == 0
    assert height / width == pytest.approx(source[0] / source[1], rel=0.02)
    assert height * width == pytest.approx(PIXELS[resolution], rel=0.1)


@pytest.mark.parametrize(("source", "ratio"), [((99, 2048), 3), ((2048, 99), 1 / 3)])
def test_beyond_three_to_one_it_is_three_to_one(source, ratio) -> None:
    height, width = frame_size(*source, "source", PIXELS["480p"])
    assert width / height == pytest.approx(ratio, rel=0.01)


@pytest.mark.parametrize("aspect_ratio", RATIOS)
@pytest.mark.parametrize(("upscale", "shorter"), [("720p", 720), ("1080p", 1080)])
def test_an_enlarged_video_has_the_exact_ratio(aspect_ratio, upscale, shorter) -> None:
    parameters = Parameters(seed=1, aspect_ratio=aspect_ratio, upscale=upscale)
    height, width = upscaled_size(frame_size(1, 1, aspect_ratio, PIXELS["480p"]), parameters)

    assert min(height, width) == shorter
    assert height % 2 == width % 2 == 0
    assert height / width == pytest.approx(RATIOS[aspect_ratio], rel=1e-3)


def test_what_is_large_enough_is_not_enlarged() -> None:
    parameters = Parameters(seed=1, upscale="720p")
    assert upscaled_size((960, 960), parameters) == (960, 960)
    assert upscaled_size((480, 848), Parameters(seed=1)) == (480, 848)


def test_every_ratio_has_a_name_that_is_its_value() -> None:
    for name in ASPECT_RATIOS[1:]:
        width, height = map(int, name.split(":"))
        assert RATIOS[name] == height / width


def test_a_picture_is_scaled_to_cover_the_frame_and_cut_in_the_centre() -> None:
    picture = np.zeros((100, 400, 3), np.uint8)
    picture[:, 199:201] = 255
    fitted = fit(picture, 200, 200)
    assert fitted.shape == (200, 200, 3)
    assert fitted[100, 98:102].min() > 100
    assert fitted[:, :90].max() == 0


def test_a_picture_of_the_right_size_is_not_changed() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (64, 32, 3), np.uint8)
    assert np.array_equal(fit(picture, 64, 32), picture)
