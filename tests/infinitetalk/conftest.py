import json
import os
from pathlib import Path

# Intel's library takes other paths on other processors, whose sums differ in the last digits: the same one everywhere.
os.environ.setdefault("MKL_CBWR", "AVX2")
# The tensors are tiny: more threads only wait for each other, and long when the machine is busy. Read when torch is
# imported, also by the processes that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from PIL import Image

from tests.render.conftest import write_voice

torch.set_num_threads(1)  # If torch was imported before.

# Nearly all time of a render goes into its pixels. Height and width by the quotient of both:
BUCKETS = {
    "480p": {"0.67": [32, 48], "1.00": [48, 48], "1.50": [48, 32], "0.26": [16, 64], "3.80": [64, 16]},
    "720p": {"0.67": [48, 64], "1.00": [64, 64], "1.50": [64, 48]},
}
CHUNKS = {"num_frames_per_chunk": 9, "motion_frames": 5}
FRAMES = 17  # of the voice: three chunks


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """A tiny random checkpoint in the published layout, for frames smaller and chunks shorter than its own."""
    from infinitetalk.checkpoints import hub
    from infinitetalk.checkpoints.tiny import write_tiny_checkpoint

    folder = tmp_path_factory.mktemp("weights")
    write_tiny_checkpoint(folder)
    config = folder / hub.BASE / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "sizes": {"buckets": BUCKETS, **CHUNKS}}))
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
    return write_voice(tmp_path_factory.mktemp("voice") / "voice.wav", (FRAMES + 0.25) / 25)
