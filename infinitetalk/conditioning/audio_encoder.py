"""What a voice says, frame by frame: every layer of wav2vec 2.0 (arXiv:2006.11477), at the video's frame rate."""

import torch
from torch.nn import functional as F
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from infinitetalk.conditioning.audio import SAMPLE_RATE, Waveform

FPS = 25


def num_frames_of(samples: int) -> int:
    """Video frames of so many samples, in the order of operations that the model was trained with."""
    return int(samples / SAMPLE_RATE * FPS)


class SpeechEncoder:
    def __init__(self, model: Wav2Vec2Model, extractor: Wav2Vec2FeatureExtractor) -> None:
        self.model = model
        self.extractor = extractor

    @torch.no_grad()
    def __call__(self, voice: Waveform, num_frames: int | None = None) -> torch.Tensor:
        """voice: samples at 16 kHz, one at least.

        Returns num_frames, layers, hidden size, float32 on the CPU. Without `num_frames`, as many as the voice lasts at
        25 a second, one at least. The whole voice is encoded at once: normalisation and attention span all of it.
        """
        features = self.extractor(voice, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_values
        features = features.to(self.model.device, self.model.dtype)
        num_frames = num_frames or max(1, num_frames_of(len(voice)))
        needed = samples_needed(self.model.config)
        if features.shape[1] < needed:
            features = F.pad(features, (0, needed - features.shape[1]))

        # At the video's rate before the projection, not after it.
        hidden_states = self.model.feature_extractor(features)  # 1, channels, about 50 a second
        hidden_states = F.interpolate(hidden_states, size=num_frames, mode="linear", align_corners=True)
        hidden_states, _ = self.model.feature_projection(hidden_states.transpose(1, 2))

        # The layers one by one: the encoder's own forward does not hand out what each of them gives.
        encoder = self.model.encoder
        hidden_states = hidden_states + encoder.pos_conv_embed(hidden_states)
        if not self.model.config.do_stable_layer_norm:
            hidden_states = encoder.layer_norm(hidden_states)
        layers = []
        for layer in encoder.layers:
            output = layer(hidden_states)
            hidden_states = output[0] if isinstance(output, tuple) else output
            layers.append(hidden_states)
        if self.model.config.do_stable_layer_norm:
            layers[-1] = encoder.layer_norm(hidden_states)
        return torch.stack(layers, dim=2)[0].float().cpu()


def samples_needed(config: Wav2Vec2Config) -> int:
    """How many samples the convolutions need for one output."""
    needed = 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        needed = (needed - 1) * stride + kernel
    return needed
