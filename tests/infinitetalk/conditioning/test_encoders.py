"""Speech, prompts, pictures and latents through the tiny checkpoint's encoders."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from infinitetalk.acceleration.compile import put_channels_last
from infinitetalk.checkpoints.load_encoders import load_image_encoder, load_speech_encoder, load_text_encoder, load_vae
from infinitetalk.conditioning import audio_encoder
from infinitetalk.conditioning import vae as vae_latents
from infinitetalk.conditioning.audio_encoder import SpeechEncoder, num_frames_of, samples_needed
from infinitetalk.conditioning.image_encoder import clip_pixels, encode_image
from infinitetalk.conditioning.text_encoder import NEGATIVE_PROMPT, PromptEncoder, clean_prompt
from infinitetalk.model.configs import TINY_SPEECH, clip_config, umt5_config, vae_config


@pytest.fixture(scope="module")
def speech(weights: Path) -> SpeechEncoder:
    return load_speech_encoder(weights)


@pytest.fixture(scope="module")
def prompts(weights: Path) -> PromptEncoder:
    return load_text_encoder(weights, torch.float32)


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=samples).astype(np.float32)


def test_frames_are_counted_as_in_training() -> None:
    assert [num_frames_of(samples) for samples in (639, 640, 16_000, 18_560, 18_561)] == [0, 1, 25, 28, 29]


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (300, 1), (639, 1), (16_000, 25), (20_817, 32)])
def test_a_voice_of_any_length_has_features(speech: SpeechEncoder, samples: int, frames: int) -> None:
    features = speech(noise(samples))

    assert features.shape == (frames, speech.model.config.num_hidden_layers, speech.model.config.hidden_size)
    assert features.isfinite().all()


def test_silence_has_features(speech: SpeechEncoder) -> None:
    assert speech(np.zeros(16_000, np.float32)).isfinite().all()


def test_loudness_makes_no_difference_if_the_checkpoint_normalises(speech: SpeechEncoder) -> None:
    torch.testing.assert_close(speech(noise(16_000)), speech(3 * noise(16_000)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("stable", [False, True])
@torch.no_grad()
def test_the_last_layer_is_the_models_own_output(stable: bool, monkeypatch) -> None:
    config = Wav2Vec2Config(**{**TINY_SPEECH, "do_stable_layer_norm": stable})
    extractor = Wav2Vec2FeatureExtractor(do_normalize=False)
    model = Wav2Vec2Model(config).eval()
    voice = noise(8000)
    expected = model(torch.from_numpy(voice)[None]).last_hidden_state[0]

    # The convolutions' own rate, so that nothing is resampled.
    monkeypatch.setattr(audio_encoder, "num_frames_of", lambda samples: len(expected))

    features = SpeechEncoder(model, extractor)(voice)

    torch.testing.assert_close(features[:, -1], expected, atol=1e-4, rtol=1e-4)


def test_fewer_samples_give_no_output_of_the_convolutions(speech: SpeechEncoder) -> None:
    needed = samples_needed(speech.model.config)

    assert needed == 400
    assert speech.model.feature_extractor(torch.zeros(1, needed)).shape[2] == 1


def test_a_prompt_has_as_many_rows_as_tokens(prompts: PromptEncoder) -> None:
    assert prompts("a person").shape == (3, prompts.model.config.d_model)  # and the end of the sentence
    assert len(prompts("")) == 1
    assert len(prompts("a person is talking " * 300)) == 512


def test_padding_does_not_change_a_prompt(prompts: PromptEncoder) -> None:
    ids = prompts.tokenizer("a person", return_tensors="pt").input_ids
    with torch.no_grad():
        alone = prompts.model(ids).last_hidden_state[0]

    torch.testing.assert_close(prompts("a person"), alone, atol=1e-5, rtol=1e-5)


def test_the_same_words_are_encoded_once(prompts: PromptEncoder) -> None:
    assert prompts("a person  is\n talking") is prompts(" a person is talking")


def test_entities_are_resolved_to_the_end() -> None:
    assert clean_prompt("<b>A &amp;amp; B</b>") == "<b>A & B</b>"  # ftfy leaves entities beside tags alone


def test_the_negative_prompt_is_clean() -> None:
    assert clean_prompt(NEGATIVE_PROMPT) == NEGATIVE_PROMPT
    assert len(NEGATIVE_PROMPT.split(", ")) == 28


def test_clip_sees_the_whole_picture_squashed(weights: Path) -> None:
    encoder = load_image_encoder(weights, torch.float32)
    picture = torch.ones(1, 3, 1, 64, 96)
    picture[..., 48:] = -1

    pixels = clip_pixels(picture, encoder.config.image_size)
    features = encode_image(encoder, picture)

    size = encoder.config.image_size
    assert pixels.shape == (1, 3, size, size)
    assert pixels[0, 0, :, : size // 2 - 8].std() < 1e-5
    assert pixels[0, 0, 0, 0] > pixels[0, 0, 0, -1]
    assert features.shape == (1, 1 + (size // encoder.config.patch_size) ** 2, encoder.config.hidden_size)


@torch.no_grad()
def test_latents_of_a_picture_that_stays(weights: Path) -> None:
    vae = load_vae(weights)
    picture = torch.rand(1, 3, 1, 16, 24) * 2 - 1

    y = vae_latents.reference_latents(vae, picture, 9)
    video = vae_latents.decode(vae, 50 * y[:, 4:])

    assert y.shape == (1, 20, 3, 2, 3)
    assert y[:, :4, 0].eq(1).all() and not y[:, :4, 1:].any()
    torch.testing.assert_close(y[:, 4:, :1], vae_latents.encode(vae, picture), atol=1e-5, rtol=1e-5)  # causal
    assert video.shape == (1, 3, 9, 16, 24)
    assert video.abs().max() == 1  # clamped


@torch.no_grad()
def test_the_layout_of_a_gpu_changes_no_frame(weights: Path) -> None:
    vae = load_vae(weights)
    latents = torch.randn(1, vae.config.z_dim, 2, 8, 12, generator=torch.Generator().manual_seed(0))
    expected = vae.decode(latents).sample

    put_channels_last(vae)

    weights_of = {
        layer.weight.ndim: layer.weight
        for layer in vae.modules()
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Conv3d)
    }
    assert weights_of[5].is_contiguous(memory_format=torch.channels_last_3d)
    assert weights_of[4].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(vae.decode(latents).sample, expected, atol=1e-5, rtol=1e-4)


def test_without_a_config_the_sizes_are_the_published_ones() -> None:
    text, image, vae = umt5_config({}), clip_config({}), vae_config({})

    assert (text["d_model"], text["d_kv"], text["num_heads"], text["num_layers"]) == (4096, 64, 64, 24)
    assert (text["relative_attention_num_buckets"], text["relative_attention_max_distance"]) == (32, 128)
    assert (image["hidden_size"], image["intermediate_size"], image["num_hidden_layers"]) == (1280, 5120, 32)
    assert (vae["base_dim"], vae["z_dim"], len(vae["latents_mean"]), len(vae["latents_std"])) == (96, 16, 16, 16)
