"""What torch counts is what the published sizes give by hand."""

import pytest

from infinitetalk.bench.flops import latent_frames, transformer_flops, vae_flops
from infinitetalk.model.configs import transformer_config, vae_config


@pytest.mark.parametrize(("height", "width", "tera"), [(448, 896, 1839), (704, 1280, 6606)])
def test_a_pass_of_the_published_model(height: int, width: int, tera: int) -> None:
    config = transformer_config({})

    counted = transformer_flops(config, 81, height, width)

    dim, tokens = 5120, latent_frames(81) * (height // 16) * (width // 16)
    # Per block: four products of self attention, two of each of the others, the feed-forward's, attention to all.
    block = 2 * tokens * (8 * dim**2 + 2 * dim * 13824) + 4 * tokens**2 * dim
    assert counted == pytest.approx(40 * block, rel=0.02)
    assert counted / 1e12 == pytest.approx(tera, rel=0.001)


def test_the_published_autoencoder() -> None:
    encode, decode = vae_flops(vae_config({}), 81, 448, 896)

    assert (round(encode / 1e12), round(decode / 1e12)) == (165, 277)
