"""Putting tensors into a module, or saying exactly why not."""

from collections.abc import Mapping

import torch
from torch import nn

from infinitetalk.errors import InvalidCheckpoint


def load_strictly(module: nn.Module, tensors: Mapping[str, torch.Tensor], source: str) -> None:
    """Make the tensors the module's own, without a copy. Raises InvalidCheckpoint that names the keys at fault.

    The module may be on the meta device.
    """
    wanted = module.state_dict()
    problems = []
    missing = sorted(wanted.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - wanted.keys())
    shapes = [
        f"{key} is {tuple(tensors[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in sorted(wanted.keys() & tensors.keys())
        if tensors[key].shape != wanted[key].shape
    ]
    for title, keys in (("missing", missing), ("unexpected", unexpected), ("wrong shape", shapes)):
        if keys:
            more = f" and {len(keys) - 10} more" if len(keys) > 10 else ""
            problems.append(f"{title}: {', '.join(keys[:10])}{more}")
    if problems:
        raise InvalidCheckpoint("wrong_keys", f"{source} does not fit: {'; '.join(problems)}")
    module.load_state_dict(dict(tensors), strict=True, assign=True)
