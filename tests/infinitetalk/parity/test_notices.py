"""The parity test must fail when something is wrong: small errors are planted, each must be noticed."""

import pytest

from infinitetalk.checkpoints import convert
from tests.infinitetalk.parity import conditioning, sampling, transformer
from tests.infinitetalk.parity.golden import FOLDER, GoldenFile


def golden(name: str) -> GoldenFile:
    [path] = FOLDER.rglob(f"{name}.json")
    return GoldenFile(path)


def test_one_swapped_key(monkeypatch) -> None:
    rules = [
        (pattern, r"blocks.\1.attn1.norm_\2.weight".replace(r"\2", "k" if "q" in pattern else "q"))
        for pattern in (
            r"blocks\.(\d+)\.self_attn\.norm_q\.weight",
            r"blocks\.(\d+)\.self_attn\.norm_k\.weight",
        )
    ]
    monkeypatch.setattr(convert, "_TRANSFORMER", (*rules, *convert._TRANSFORMER))

    with pytest.raises(AssertionError, match="off by"):
        transformer.check_dit(golden("dit"))


def test_one_wrong_window_index(monkeypatch) -> None:
    original = conditioning.windows
    monkeypatch.setattr(
        conditioning,
        "windows",
        lambda features, start, frames, window=5: original(features, start + 1, frames, window),
    )

    with pytest.raises(AssertionError, match="windows"):
        conditioning.check_audio_window(golden("audio_window"))


def test_another_order_in_the_schedule(monkeypatch) -> None:
    original = sampling.shifted_timesteps
    monkeypatch.setattr(sampling, "shifted_timesteps", lambda steps, shift: original(steps, shift * 1.001))

    with pytest.raises(AssertionError, match="off by"):
        sampling.check_timesteps(golden("timesteps"))
