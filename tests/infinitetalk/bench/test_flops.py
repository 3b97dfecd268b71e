"""What torch counts is what the published sizes give by hand."""

import pytest

from infinitetalk.bench.flops import latent_frames, transformer_flops, vae_flops
from infinitetalk.model.configs import transformer_config, vae_config


@pytest.mark.parametrize(("height", "width", "tera"), [(448, 896, 1839), (704, 1280, 6606)])
def test_a_pass_of_the_published_model(height: int, width: int, tera: int) -> None:
    one, two = (transformer_flops(transformer_config({"num_layers": n}), 81, height, width) for n in (1, 2))

    dim, tokens = 5120, latent_frames(81) * (height // 16) * (width // 16)
    # Per block: four products of self attention, two of each of the others, the feed-forward's, attention to all.
    block = 2 * tokens * (8 * dim**2 + 2 * dim * 13824) + 4 * tokens**2 * dim
    assert two - one == pytest.approx(block, rel=0.02)
    # To count each of the 40 blocks, which are all alike, takes seconds.
    whole = one + (transformer_config({})["num_layers"] - 1) * (two - one)
    assert whole == pytest.approx(40 * block, rel=0.02)
    assert whole / 1e12 == pytest.approx(tera, rel=0.001)


def test_the_published_autoencoder() -> None:
    two, three = (vae_flops(vae_config({}), frames, 448, 896) for frames in (5, 9))

    for number, tera in enumerate((165, 277)):  # to encode, to decode
        each = three[number] - two[number]  # latent frame after the first: to count all of them takes seconds
        assert round((two[number] + (latent_frames(81) - 2) * each) / 1e12) == tera
