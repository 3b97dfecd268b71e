"""Prompts, cleaned and encoded by UMT5 (arXiv:2304.09151)."""

import html
import re

import ftfy
import torch
from transformers import PreTrainedTokenizerBase, UMT5EncoderModel

TEXT_LEN = 512  # tokens; longer prompts are cut
KEPT_PROMPTS = 16  # encoded, for the next calls
NEGATIVE_PROMPT = (
    "bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, images, static, "
    "overall gray, worst quality, low quality, JPEG compression residue, ugly, incomplete, extra fingers, "
    "poorly drawn hands, poorly drawn faces, deformed, disfigured, misshapen limbs, fused fingers, still picture, "
    "messy background, three legs, many people in the background, walking backwards"
)


def clean_prompt(prompt: str) -> str:
    """Repair wrong encodings, resolve HTML entities (also doubly escaped ones), and replace white space by a space."""
    text = html.unescape(html.unescape(ftfy.fix_text(prompt))).strip()
    return re.sub(r"\s+", " ", text).strip()


class PromptEncoder:
    """Encodes a prompt once: later calls with the same words return the same tensor."""

    def __init__(self, model: UMT5EncoderModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self._encoded: dict[str, torch.Tensor] = {}

    @torch.no_grad()
    def __call__(self, prompt: str) -> torch.Tensor:
        """n, text_dim: one row for each token of the prompt, at most TEXT_LEN."""
        text = clean_prompt(prompt)
        if text not in self._encoded:
            # Without padding: masked tokens change nothing, and a prompt has some 30 tokens of 512.
            tokens = self.tokenizer(text, truncation=True, max_length=TEXT_LEN, return_tensors="pt")
            hidden_states = self.model(tokens.input_ids.to(self.model.device)).last_hidden_state
            self._encoded[text] = hidden_states[0]
            if len(self._encoded) > KEPT_PROMPTS:
                self._encoded.pop(next(iter(self._encoded)))
        return self._encoded[text]
