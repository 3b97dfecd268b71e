"""Which attention kernel suits a GPU, and whether its package is installed. The names are diffusers'."""

from importlib.util import find_spec

import torch

from infinitetalk.errors import AttentionUnavailable
from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel

HOPPER = (9, 0)
ADA = (8, 9)
# Start of a backend's name -> the module that it imports, and the package that has the module. The first match counts.
PACKAGES = {
    "_flash_3": ("flash_attn_interface", "flash-attn-3 (FlashAttention-3, built from source)"),
    "_flash_varlen_3": ("flash_attn_interface", "flash-attn-3 (FlashAttention-3, built from source)"),
    "flash": ("flash_attn", "flash-attn"),
    "sage": ("sageattention", "sageattention"),
    "_sage": ("sageattention", "sageattention"),
    "xformers": ("xformers", "xformers"),
}


def choose_attention(capability: tuple[int, int] | None, *, approximate: bool = False) -> str:
    """capability: CUDA compute capability of the GPU, None on a CPU. approximate: allow SageAttention's 8-bit products
    (Ada and later).

    FlashAttention-3 has kernels for Hopper only; on Hopper without its package, cuDNN's are the fastest in torch.
    """
    if capability is None:
        return "native"
    if approximate and capability >= ADA and find_spec("sageattention"):
        return "sage"
    if capability[0] == HOPPER[0]:
        return "_flash_3" if find_spec("flash_attn_interface") else "_native_cudnn"
    return "flash" if find_spec("flash_attn") else "native"


def capability_of(device: torch.device) -> tuple[int, int] | None:
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else None


def use_attention(transformer: InfiniteTalkTransformer3DModel, backend: str) -> None:
    """Set the backend of all attention in the transformer. Raises what `require_attention` raises, and
    AttentionUnavailable `attention_unusable` when diffusers refuses the backend for another reason.
    """
    require_attention(backend)
    try:
        transformer.set_attention_backend(backend)
    except (ImportError, RuntimeError, ValueError) as error:
        raise AttentionUnavailable(
            "attention_unusable", f"The attention backend {backend} (option --attention) cannot be used: {error}"
        ) from error


def require_attention(backend: str) -> None:
    """Raises AttentionUnavailable `attention_missing` when the backend's package is not installed."""
    if backend.endswith("_hub"):
        module, package = "kernels", "kernels"
    else:
        module, package = next(
            (needed for start, needed in PACKAGES.items() if backend.startswith(start)), ("torch", "torch")
        )
    if find_spec(module) is None:
        raise AttentionUnavailable(
            "attention_missing",
            f"The attention backend {backend} (option --attention) needs the package {package}; it is not installed.",
        )
