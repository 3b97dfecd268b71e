import os
from pathlib import Path

# Intel's library takes other paths on other processors, whose sums differ in the last digits: the same one everywhere.
os.environ.setdefault("MKL_CBWR", "AVX2")

import numpy as np
import pytest
import torch
from PIL import Image

from tests.render.conftest import write_voice

# The tensors are tiny: more threads only wait for each other, and long when the machine is busy.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """A tiny random checkpoint in the published layout."""
    from infinitetalk.checkpoints.tiny import write_tiny_checkpoint

    folder = tmp_path_factory.mktemp("weights")
    write_tiny_checkpoint(folder)
    return folder


@pytest.fixture(scope="session")
def portrait(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("portrait") / "portrait.png"
    rows, columns = np.mgrid[0:120, 0:100]
    pixels = np.stack([rows * 2, columns * 2, (rows + columns) % 256], axis=-1).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="session")
def voice(tmp_path_factory) -> Path:
    """40 frames long: three of the tiny checkpoint's chunks."""
    return write_voice(tmp_path_factory.mktemp("voice") / "voice.wav", 1.61)
