"""What makes a loaded transformer fast and lets it fit, without changing what it computes."""

import os
from pathlib import Path

import torch
from torch import nn

from infinitetalk.model.transformer import InfiniteTalkTransformer3DModel


def keep_compiled_code(folder: Path) -> None:
    """Let torch.compile find its kernels again after a restart. To be called before anything is compiled."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)


def compile_blocks(transformer: InfiniteTalkTransformer3DModel) -> None:
    """Compile one block, whose code serves them all: norms, modulations, gates and rotations become single kernels.

    Sizes stay symbolic: the buckets have different numbers of tokens, and each would be compiled anew.
    """
    transformer.compile_repeated_blocks(fullgraph=True, dynamic=True)


def put_channels_last(network: nn.Module) -> None:
    """Lay the convolutions' weights out as cuDNN is fastest with; images and videos each have a format of their own."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv3d):
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last_3d)
        elif isinstance(layer, nn.Conv2d):
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)


def stream_blocks(transformer: InfiniteTalkTransformer3DModel, device: torch.device) -> None:
    """Keep the weights in the CPU's memory and copy each block to the device while the one before it computes.

    On CUDA the weights are pinned and copied on a stream of their own. Slower cards hide the copies entirely: a pass
    moves 38 GB in bfloat16, 1.5 s at 25 GB/s.
    """
    on_gpu = device.type == "cuda"
    transformer.enable_group_offload(
        onload_device=device,
        offload_device=torch.device("cpu"),
        offload_type="block_level",
        num_blocks_per_group=1,
        non_blocking=on_gpu,
        use_stream=on_gpu,
        record_stream=on_gpu,
    )
