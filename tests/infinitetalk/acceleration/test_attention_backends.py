"""An attention backend that cannot be used is named, with its package and its option; nothing else is blamed."""

import logging
from concurrent.futures import Future
from pathlib import Path

import pytest
import torch

from infinitetalk.__main__ import main
from infinitetalk.acceleration import attention_backends
from infinitetalk.acceleration.attention_backends import require_attention, use_attention
from infinitetalk.acceleration.memory_plan import PLANS
from infinitetalk.bench.networks import RandomNetworks
from infinitetalk.errors import AttentionUnavailable
from infinitetalk.server import command


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch) -> None:
    monkeypatch.setattr(attention_backends, "find_spec", lambda name: name if name == "torch" else None)


@pytest.mark.parametrize(
    ("backend", "package"),
    [
        ("flash", "flash-attn"),
        ("flash_varlen", "flash-attn"),
        ("_flash_3", "flash-attn-3"),
        ("_flash_3_hub", "kernels"),
        ("sage", "sageattention"),
        ("_sage_qk_int8_pv_fp8_cuda", "sageattention"),
        ("xformers", "xformers"),
    ],
)
def test_a_missing_package_is_named_with_the_option_that_chose_it(backend: str, package: str) -> None:
    with pytest.raises(AttentionUnavailable) as caught:
        require_attention(backend)

    assert caught.value.code == "attention_missing"
    assert f"{backend} (option --attention) needs the package {package}" in caught.value.detail


@pytest.mark.parametrize("backend", ["native", "_native_cudnn", "_native_math", "flex"])
def test_torchs_own_backends_need_nothing(backend: str) -> None:
    require_attention(backend)


def test_a_backend_that_diffusers_refuses_is_named() -> None:
    transformer = RandomNetworks("tiny", torch.float32, torch.device("cpu")).transformer(PLANS["resident"])

    with pytest.raises(AttentionUnavailable, match="unheard_of") as caught:
        use_attention(transformer, "unheard_of")

    assert caught.value.code == "attention_unusable"


def test_the_model_server_says_so_before_it_loads_anything(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(command.signal, "signal", lambda *arguments: None)
    paths = ["--socket", str(tmp_path / "model.sock"), "--weights", str(tmp_path / "no weights"), "--device", "cpu"]

    assert main(["serve", *paths, "--attention", "flash"]) == 2

    said = capsys.readouterr().err
    assert said.startswith("attention_missing: ")
    assert "flash-attn" in said and "--attention" in said
    assert not (tmp_path / "model.sock").exists()


def test_at_a_later_load_it_is_not_told_as_a_fault_of_the_weights(monkeypatch, caplog) -> None:
    ended = []
    monkeypatch.setattr(command, "_end_at_once", lambda: ended.append(True))
    loaded: Future[None] = Future()
    loaded.set_exception(AttentionUnavailable("attention_unusable", "The attention backend x cannot be used."))

    with caplog.at_level(logging.ERROR):
        command._stop_if_failed(loaded)

    assert ended == [True]
    assert "attention_unusable: The attention backend x" in caplog.text
    assert "weights" not in caplog.text
