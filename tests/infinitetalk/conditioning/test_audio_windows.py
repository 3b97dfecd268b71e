"""Rows of the voice by number: each row of these features holds its own index."""

import pytest
import torch

from infinitetalk.conditioning.audio_windows import lengthen_tail, split_windows, windows


def rows(number: int) -> torch.Tensor:
    return torch.arange(number).float().view(number, 1, 1)


def test_a_frame_sees_its_neighbours_and_the_ends_repeat() -> None:
    out = windows(rows(10), start=7, num_frames=4)[..., 0, 0].tolist()

    assert out == [[5, 6, 7, 8, 9], [6, 7, 8, 9, 9], [7, 8, 9, 9, 9], [8, 9, 9, 9, 9]]
    assert windows(rows(10), 0, 1)[0, :, 0, 0].tolist() == [0, 0, 0, 1, 2]


def test_latent_frames_see_eight_rows() -> None:
    first, latter = split_windows(windows(rows(100), start=40, num_frames=13)[None])

    assert first[0, :, :, 0, 0].tolist() == [[38, 39, 40, 41, 42]]
    assert latter[0, :, :, 0, 0].tolist() == [[*range(40 + 4 * i - 5, 40 + 4 * i + 3)] for i in (1, 2, 3)]


def test_a_single_frame_has_no_latter_group() -> None:
    first, latter = split_windows(windows(rows(9), 0, 1)[None])

    assert first.shape == (1, 1, 5, 1, 1)
    assert latter.shape == (1, 0, 8, 1, 1)


@pytest.mark.parametrize(
    ("length", "stop", "added"),
    [(10, 9, []), (10, 10, [9, 8, 7]), (10, 13, [9, 8, 7, 6, 5, 4]), (4, 13, [3, 2, 1, 0])],
)
def test_the_tail_goes_on_mirrored(length: int, stop: int, added: list[int]) -> None:
    assert lengthen_tail(rows(length), stop).flatten().tolist() == [*range(length), *added]


def test_a_lengthened_voice_clamps_nothing_inside_the_chunk() -> None:
    features = lengthen_tail(rows(20), stop=25)

    assert windows(features, 12, 13)[-1, :, 0, 0].tolist() == features[22:27, 0, 0].tolist()
