"""Checks of what the transformer is given: windows of the voice, text, picture, latents, masks."""

from collections.abc import Callable

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    UMT5Config,
    UMT5EncoderModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from infinitetalk.buckets import nearest_bucket
from infinitetalk.checkpoints.convert import rename_clip, rename_umt5, rename_vae
from infinitetalk.checkpoints.files import load_strictly
from infinitetalk.conditioning import vae as vae_latents
from infinitetalk.conditioning.audio import LOUDNESS, SAMPLE_RATE, arrange_voices, load_voice, normalise_loudness
from infinitetalk.conditioning.audio_encoder import SpeechEncoder
from infinitetalk.conditioning.audio_windows import split_windows, windows
from infinitetalk.conditioning.image import resize_and_crop
from infinitetalk.conditioning.image_encoder import clip_pixels, encode_image
from infinitetalk.conditioning.speaker_masks import speaker_masks
from infinitetalk.conditioning.text_encoder import clean_prompt
from infinitetalk.model.configs import clip_config, umt5_config, vae_config
from tests.infinitetalk.parity.golden import GoldenFile, assert_close


def load_clip(config: dict, weights: dict[str, torch.Tensor], source: str) -> CLIPVisionModel:
    encoder = CLIPVisionModel(CLIPVisionConfig(**clip_config(config)))
    load_strictly(encoder, rename_clip(weights, source), source)
    return encoder.eval()


def load_vae(config: dict, weights: dict[str, torch.Tensor], source: str) -> AutoencoderKLWan:
    vae = AutoencoderKLWan(**vae_config(config))
    load_strictly(vae, rename_vae(weights), source)
    return vae.eval()


def buckets_of(golden: GoldenFile) -> dict[float, tuple[int, int]]:
    return {float(ratio): tuple(size) for ratio, size in golden.facts["buckets_h_w_by_ratio"].items()}


def boxes_of(case: dict) -> list | None:
    return [[box] for box in case["bbox"].values()] if case.get("bbox") else None


def check_audio_window(golden: GoldenFile) -> None:
    config = golden.facts["config"]
    [features] = golden.under("in/").values()
    features = features.reshape(-1, *features.shape[-2:])
    for number, case in enumerate(golden.facts["cases"]):
        frames = case["end"] - case["start"]
        out = windows(features, case["start"], frames, config["audio_window"])[None]
        assert torch.equal(out, golden.tensors[f"case{number}/out/windows"]), f"case {number} windows"
        first, latter = split_windows(out, config["vae_scale"])
        assert torch.equal(first, golden.tensors[f"case{number}/out/first"]), f"case {number} first"
        assert torch.equal(latter, golden.tensors[f"case{number}/out/latter"]), f"case {number} latter"


@torch.no_grad()
def check_umt5(golden: GoldenFile) -> None:
    encoder = UMT5EncoderModel(UMT5Config(**umt5_config(golden.facts["config"])))
    tensors = rename_umt5(golden.weights, golden.name)
    load_strictly(encoder, {**tensors, "encoder.embed_tokens.weight": tensors["shared.weight"]}, golden.name)
    encoder.eval()
    for number, case in enumerate(golden.facts["cases"]):
        given = golden.under(f"case{number}/in/")
        out = encoder(input_ids=given["ids"], attention_mask=given["mask"]).last_hidden_state[0, : case["true"]]
        assert_close(out, golden.tensors[f"case{number}/out/context"], 1e-4, f"case {number}")


@torch.no_grad()
def check_clip(golden: GoldenFile) -> None:
    encoder = load_clip(golden.facts["config"], golden.weights, golden.name)
    for number in range(len(golden.facts["cases"])):
        picture = golden.tensors[f"case{number}/in/image"]
        pixels = clip_pixels(picture, encoder.config.image_size)
        assert_close(pixels, golden.tensors[f"case{number}/mid/pixel_values"], 1e-5, f"case {number} pixels")
        out = encode_image(encoder, picture)
        assert_close(out, golden.tensors[f"case{number}/out/clip_fea"], 1e-5, f"case {number}")


@torch.no_grad()
def check_vae(golden: GoldenFile) -> None:
    vae = load_vae(golden.facts["config"], golden.weights, golden.name)
    assert_close(torch.tensor(vae.config.latents_mean), golden.tensors["const/mean"], 1e-7, "mean")
    assert_close(torch.tensor(vae.config.latents_std), golden.tensors["const/std"], 1e-7, "standard deviation")
    for number in range(len(golden.facts["cases"])):
        out = vae_latents.encode(vae, golden.tensors[f"case{number}/in/video"])
        assert_close(out, golden.tensors[f"case{number}/out/latent"], 1e-4, f"case {number} encode")
        decoded = vae_latents.decode(vae, 0.5 * golden.tensors[f"case{number}/out/latent"])
        expected = golden.tensors[f"case{number}/out/decoded_of_half_latent"]
        assert_close(decoded, expected, 1e-4, f"case {number} decode")


@torch.no_grad()
def check_condition(golden: GoldenFile) -> None:
    clip, vae = golden.beside("clip"), golden.beside("vae")
    encoder = load_clip(clip.facts["config"], clip.weights, clip.name)
    autoencoder = load_vae(vae.facts["config"], vae.weights, vae.name)
    for number, case in enumerate(golden.facts["cases"]):
        given, expected = golden.under(f"case{number}/in/"), golden.under(f"case{number}/out/")
        source = given["image_u8"].numpy()
        size = nearest_bucket(*source.shape[:2], buckets_of(golden))
        assert size == (case["target_h"], case["target_w"]), f"case {number} bucket"
        picture = resize_and_crop(source, size)
        assert_close(picture, golden.tensors[f"case{number}/mid/cond_frame"], 1e-6, f"case {number} picture")
        y = vae_latents.reference_latents(autoencoder, picture, case["frames"])
        assert_close(y, expected["y"], 1e-5, f"case {number} y")
        assert_close(encode_image(encoder, picture), expected["clip_fea"], 1e-5, f"case {number} CLIP")
        if case["persons"] == 2:
            masks = speaker_masks(source.shape[:2], size, boxes_of(case))
            assert torch.equal(masks, expected["ref_target_masks"]), f"case {number} masks"
        else:
            assert expected["ref_target_masks"].eq(1).all()
        voices = [given[f"audio_embedding{person + 1}"] for person in range(case["persons"])]
        audio = torch.stack([windows(voice, 0, case["frames"]) for voice in voices])
        assert torch.equal(audio, expected["audio"]), f"case {number} audio"
        assert expected["audio_of_audio_free_pass"].shape == audio[:1].shape
        assert not expected["audio_of_audio_free_pass"].any()


def check_text_clean(golden: GoldenFile) -> None:
    for raw, clean in golden.facts["cases"]:
        assert clean_prompt(raw) == clean


def check_audio_loading(golden: GoldenFile) -> None:
    expected = golden.tensors
    assert golden.facts["config"] == {"sr": SAMPLE_RATE, "lufs": LOUDNESS}
    names = sorted(name.partition("/")[0] for name in expected if name.endswith("/mid/resampled"))
    assert names
    loaded = {name: load_voice(golden.path.with_name(f"voice_{name}.wav")) for name in names}
    for name, voice in loaded.items():
        assert_close(torch.from_numpy(voice), expected[f"{name}/mid/resampled"], 1e-5, f"{name} resampled")
        normalised = torch.from_numpy(normalise_loudness(voice))
        assert_close(normalised, expected[f"{name}/out/loudness_normalised"], 1e-5, f"{name} loudness")

    left, right = (torch.from_numpy(voice) for voice in arrange_voices(list(loaded.values())[:2], "left_right"))
    assert_close(left, expected["add/out/person1"], 1e-5, "left")
    assert_close(right, expected["add/out/person2"], 1e-5, "right")
    assert_close(left + right, expected["add/out/mix"], 1e-5, "mix")

    # Beside a silent person: the same as alone.
    silent, heard = (expected[f"para_person1_none/out/person{person}"] for person in (1, 2))
    quiet = np.zeros(len(silent), np.float32)
    left, right = (torch.from_numpy(voice) for voice in arrange_voices([quiet, loaded[names[-1]]], "meanwhile"))
    assert_close(left, silent, 0, "who is silent")
    assert_close(right, heard, 1e-5, "who alone speaks")
    silence = normalise_loudness(np.zeros(SAMPLE_RATE, np.float32))
    assert silence.sum() == expected["silence/out/loudness_normalised_sum"].item() == 0


def check_wav2vec2(golden: GoldenFile) -> None:
    config = dict(golden.facts["config"])
    extractor = Wav2Vec2FeatureExtractor(do_normalize=config.pop("do_normalize"), sampling_rate=SAMPLE_RATE)
    model = Wav2Vec2Model(Wav2Vec2Config(**config))
    load_strictly(model, {**model.state_dict(), **golden.weights}, golden.name)
    missing = model.state_dict().keys() - golden.weights.keys()
    assert missing <= {"masked_spec_embed"}, missing
    encoder = SpeechEncoder(model.eval(), extractor)
    for number, case in enumerate(golden.facts["cases"]):
        voice = golden.tensors[f"case{number}/in/waveform"].numpy()
        out = encoder(voice)
        assert len(out) == case["frames"], f"case {number}: {len(out)} frames"
        assert_close(out, golden.tensors[f"case{number}/out/embedding"], 1e-4, f"case {number}")


CONDITIONING: dict[str, Callable[[GoldenFile], None]] = {
    "audio_window": check_audio_window,
    "audio_loading": check_audio_loading,
    "wav2vec2": check_wav2vec2,
    "text_clean": check_text_clean,
    "umt5": check_umt5,
    "clip": check_clip,
    "vae": check_vae,
    "condition": check_condition,
}
