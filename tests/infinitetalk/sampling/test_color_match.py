"""Colours by scikit-image's measure, which the product itself does without."""

import warnings

import numpy as np
import pytest
import torch
from skimage import color, data

from infinitetalk.sampling import color_match
from infinitetalk.sampling.cie_lab import lab_to_rgb, rgb_to_lab
from infinitetalk.sampling.color_match import FLAT, correct_colors


def every_colour(steps: int = 18) -> torch.Tensor:
    """3, steps^2, steps, with many dark ones, where the curves change from powers to lines."""
    levels = torch.linspace(0, 1, steps) ** 3
    return torch.stack(torch.meshgrid(levels, levels, levels, indexing="ij")).flatten(1, 2)


def lab2rgb(lab: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of colours outside sRGB
        return torch.from_numpy(color.lab2rgb(lab.double().numpy(), channel_axis=0))


def rgb2lab(rgb: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(color.rgb2lab(rgb.double().numpy(), channel_axis=0))


def corrected_by_the_book(video: torch.Tensor, reference: torch.Tensor, strength: float) -> torch.Tensor:
    def statistics(lab: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return lab.mean(dim=(1, 2), keepdim=True), lab.std(dim=(1, 2), keepdim=True, correction=0)

    target_mean, target_deviation = statistics(rgb2lab((reference[0, :, 0] + 1) / 2))
    frames = []
    for frame in video[0].double().unbind(1):
        rgb = ((frame + 1) / 2).clamp(0, 1)
        lab = rgb2lab(rgb)
        mean, deviation = statistics(lab)
        spread = torch.where(deviation < FLAT, 0, target_deviation / deviation)
        matched = lab2rgb((lab - mean) * spread + target_mean)
        frames.append(((1 - strength) * rgb + strength * matched) * 2 - 1)
    return torch.stack(frames, dim=1)[None]


@pytest.fixture
def reference() -> torch.Tensor:
    """1, 3, 1, 64, 48."""
    pixels = torch.from_numpy(np.ascontiguousarray(data.astronaut()[:128:2, 150:246:2]))
    return pixels.permute(2, 0, 1)[None, :, None] / 127.5 - 1


@pytest.fixture
def video(reference: torch.Tensor) -> torch.Tensor:
    """1, 3, 5, 64, 48: the picture in other lights, somewhat noisy, not always within [-1, 1]."""
    generator = torch.Generator().manual_seed(0)
    gain = torch.empty(3, 5, 1, 1).uniform_(0.5, 1.3, generator=generator)
    shift = torch.empty(3, 5, 1, 1).uniform_(-0.2, 0.2, generator=generator)
    noise = 0.03 * torch.randn(3, 5, 64, 48, generator=generator)
    return (reference[0] * gain + shift + noise)[None]


def test_to_lab() -> None:
    rgb = every_colour()

    assert (rgb_to_lab(rgb) - rgb2lab(rgb)).abs().max() < 2e-4  # of 100: float32 keeps no more of a and b


def test_from_lab() -> None:
    lab = rgb_to_lab(every_colour())

    assert (lab_to_rgb(lab) - lab2rgb(lab)).abs().max() < 1e-5


def test_from_lab_where_there_are_no_such_colours() -> None:
    lightness = torch.linspace(-20, 130, 16)
    opponents = torch.linspace(-160, 160, 17)
    lab = torch.stack(torch.meshgrid(lightness, opponents, opponents, indexing="ij"))

    rgb = lab_to_rgb(lab)

    assert (rgb - lab2rgb(lab)).abs().max() < 1e-5
    assert rgb.min() == 0 and rgb.max() == 1


@pytest.mark.parametrize("strength", [0.2, 1.0])
def test_a_video_takes_on_the_references_colours(video, reference, strength: float) -> None:
    out = correct_colors(video, reference, strength)

    assert (out - corrected_by_the_book(video, reference, strength)).abs().max() < 1e-5


def test_a_frame_of_one_colour_takes_on_the_references_mean(reference) -> None:
    video = torch.full((1, 3, 1, 64, 48), 0.3)

    out = correct_colors(video, reference, 1.0)

    assert (out - corrected_by_the_book(video, reference, 1.0)).abs().max() < 1e-5
    assert out[0, :, 0].flatten(1).std(dim=1).max() < 1e-6


def test_how_many_frames_at_once_makes_no_difference(video, reference, monkeypatch) -> None:
    at_once = correct_colors(video, reference, 0.5)

    for pixels in (1, 2 * 64 * 48):
        monkeypatch.setattr(color_match, "PIXELS_AT_ONCE", pixels)
        assert torch.equal(correct_colors(video, reference, 0.5), at_once)


def test_the_video_keeps_its_type_and_what_was_given_is_left_alone(video, reference) -> None:
    given = video.bfloat16()
    before = given.clone()

    out = correct_colors(given, reference, 0.5)

    assert out.dtype == torch.bfloat16
    assert torch.equal(given, before)


def test_no_strength_leaves_the_video(video, reference) -> None:
    assert correct_colors(video, reference, 0) is video


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_agrees(video, reference) -> None:
    out = correct_colors(video.cuda(), reference, 0.5)

    assert (out.cpu() - correct_colors(video, reference, 0.5)).abs().max() < 1e-5
