import hashlib
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from django.conf import settings
from PIL import Image
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from render.frame.upscaling import Upscaler
from render.parameters import UPSCALES


def test_the_settings_name_the_same_sizes() -> None:
    assert ["none", *settings.UPSCALES] == list(UPSCALES)


def astronaut(side: int) -> tuple[np.ndarray, np.ndarray]:
    """A photograph, and the same made smaller as the engines do it."""
    photograph = Image.fromarray(data.astronaut()).resize((720, 720), Image.Resampling.LANCZOS)
    return np.asarray(photograph), np.asarray(photograph.resize((side, side), Image.Resampling.BILINEAR))


def by_bicubic(small: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(small).resize((720, 720), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("side", [426, 640])
def test_a_photograph_is_nearer_to_the_original_than_by_bicubic(side) -> None:
    truth, small = astronaut(side)

    upscaled, plain = Upscaler((side, side), (720, 720))(small), by_bicubic(small)

    assert peak_signal_noise_ratio(truth, upscaled) > peak_signal_noise_ratio(truth, plain) + 1  # dB
    similarity = structural_similarity(truth, upscaled, channel_axis=2)
    assert similarity > structural_similarity(truth, plain, channel_axis=2) + 0.002


@pytest.mark.parametrize("side", [426, 640])
def test_noise_does_not_make_it_worse_than_bicubic(side) -> None:
    truth, small = astronaut(side)
    noisy = small + np.random.default_rng(0).normal(0, 3, small.shape)
    small = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)

    upscaled = Upscaler((side, side), (720, 720))(small)

    assert peak_signal_noise_ratio(truth, upscaled) > peak_signal_noise_ratio(truth, by_bicubic(small))


def test_an_edge_gets_no_lines_beside_it() -> None:
    frame = np.full((320, 320, 3), (40, 90, 140), np.uint8)
    frame[100:200, 90:220] = (200, 120, 60)

    upscaled = Upscaler((320, 320), (1080, 1080))(frame)

    assert upscaled.reshape(-1, 3).min(0).tolist() == [40, 90, 60]
    assert upscaled.reshape(-1, 3).max(0).tolist() == [200, 120, 140]


def test_weak_noise_is_not_made_stronger() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (320, 320, 1))
    frame = np.rint(128 + np.repeat(noise, 3, 2)).astype(np.uint8)

    assert Upscaler((320, 320), (720, 720))(frame).std() < frame.std()


def test_the_halves_meet_without_a_seam() -> None:
    _, frame = astronaut(426)
    upscale = Upscaler((426, 426), (720, 720))

    assert (upscale(frame[::-1])[::-1] == upscale(frame)).all()
    assert (upscale(frame[:, ::-1])[:, ::-1] == upscale(frame)).all()


def test_what_is_large_enough_stays_as_it_is() -> None:
    frame = np.zeros((720, 960, 3), np.uint8)

    assert Upscaler((720, 960), (720, 960))(frame) is frame


def test_a_frame_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(64, 96\), and \(96, 64\) was announced"):
        Upscaler((96, 64), (192, 128))(np.zeros((64, 96, 3), np.uint8))


DIGEST = """
import hashlib, sys
import cv2, numpy as np
from render.frame.upscaling import Upscaler
cv2.setNumThreads(1)
frame = np.random.default_rng(0).integers(0, 256, (512, 768, 3), dtype=np.uint8)
print(hashlib.sha256(Upscaler((512, 768), (720, 1080))(frame).tobytes()).hexdigest(), cv2.getCPUFeaturesLine(), sep="|")
"""


def test_the_bytes_are_the_same_on_a_processor_without_wide_registers() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (512, 768, 3), dtype=np.uint8)
    here = hashlib.sha256(Upscaler((512, 768), (720, 1080))(frame).tobytes()).hexdigest()

    # Of what this processor has: OpenCV would warn of other names.
    features = [name[1:] for name in cv2.getCPUFeaturesLine().split() if name[0] == "*" and name[-1] != "?"]
    child = subprocess.run(
        [sys.executable, "-c", DIGEST],
        env={**os.environ, "OPENCV_CPU_DISABLE": ",".join(features)},
        capture_output=True,
        text=True,
        check=True,
    )

    digest, used = child.stdout.strip().split("|")
    assert digest == here
    assert not [name for name in used.split() if name.startswith("*AVX") and not name.endswith("?")]
