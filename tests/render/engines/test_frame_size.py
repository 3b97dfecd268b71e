import numpy as np
import pytest

from infinitetalk.buckets import BUCKETS
from render.engines.frame_size import fit, frame_size


@pytest.mark.parametrize(
    ("source", "resolution", "expected"),
    [
        ((512, 512), "480p", (640, 640)),
        ((3000, 2000), "480p", (768, 512)),
        ((1080, 1920), "480p", (448, 896)),
        ((1920, 1080), "480p", (832, 448)),
        ((100, 1000), "480p", (320, 1216)),
        ((512, 512), "720p", (960, 960)),
        ((1080, 1920), "720p", (704, 1280)),
        ((1920, 1080), "720p", (1280, 704)),
    ],
)
def test_the_nearest_named_ratio_decides_the_size(source, resolution, expected):
    assert frame_size(*source, resolution) == expected


def test_every_size_can_be_encoded_and_patched():
    sizes = [size for buckets in BUCKETS.values() for size in buckets.values()]
    assert all(height % 16 == 0 and width % 16 == 0 for height, width in sizes)


def test_a_picture_is_scaled_to_cover_the_frame_and_cut_in_the_centre():
    picture = np.zeros((100, 400, 3), np.uint8)
    picture[:, 199:201] = 255
    fitted = fit(picture, 200, 200)
    assert fitted.shape == (200, 200, 3)
    assert fitted[100, 98:102].min() > 100
    assert fitted[:, :90].max() == 0


def test_a_picture_of_the_right_size_is_not_changed():
    picture = np.random.default_rng(0).integers(0, 255, (64, 32, 3), np.uint8)
    assert np.array_equal(fit(picture, 64, 32), picture)
