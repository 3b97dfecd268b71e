"""Features of a voice for each video frame: the output of every layer of wav2vec 2.0 (arXiv:2006.11477)."""

import torch
from torch.nn import functional as F
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from infinitetalk.conditioning.audio import SAMPLE_RATE, Waveform

FPS = 25  # video frames, and rows of features, a second


def num_frames_of(samples: int) -> int:
    """Number of video frames; the order of operations, and so the rounding, is that of the training."""
    return int(samples / SAMPLE_RATE * FPS)


class SpeechEncoder:
    def __init__(self, model: Wav2Vec2Model, extractor: Wav2Vec2FeatureExtractor) -> None:
        self.model = model
        self.extractor = extractor

    @torch.no_grad()
    def __call__(self, voice: Waveform) -> torch.Tensor:
        """voice: samples at 16 kHz, one at least.

        Returns N, layers, hidden size, float32 on the CPU, with N rows at 25 a second, one at least. The whole voice is
        encoded at once: normalisation and attention span all of it.
        """
        features = self.extractor(voice, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_values
        features = features.to(self.model.device, self.model.dtype)
        num_frames = max(1, num_frames_of(len(voice)))
        needed = samples_needed(self.model.config)
        if features.shape[1] < needed:
            features = F.pad(features, (0, needed - features.shape[1]))

        # Resampled to the video's rate before the projection, as in training.
        hidden_states = self.model.feature_extractor(features)  # 1, channels, about 50 a second
        hidden_states = F.interpolate(hidden_states, size=num_frames, mode="linear", align_corners=True)
        hidden_states, _ = self.model.feature_projection(hidden_states.transpose(1, 2))

        # Layer by layer: the encoder's own forward does not return the output of each layer in this form.
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
    """Number of samples that the convolutions need for one output."""
    needed = 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        needed = (needed - 1) * stride + kernel
    return needed
