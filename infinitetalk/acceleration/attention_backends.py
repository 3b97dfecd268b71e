"""Which attention kernel suits a GPU. The names are diffusers' (`set_attention_backend`)."""

from importlib.util import find_spec

import torch

HOPPER = (9, 0)
ADA = (8, 9)


def choose_attention(capability: tuple[int, int] | None, *, approximate: bool = False) -> str:
    """capability: of the GPU, None on a CPU. approximate: SageAttention's 8-bit products are allowed (Ada and later).

    FlashAttention-3 has kernels for Hopper only; there, without its package, cuDNN's are the fastest that torch brings.
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
