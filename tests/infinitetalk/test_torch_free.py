"""The service imports the model's sizes, presets and frame numbers on machines without torch."""

import subprocess
import sys

import pytest

from infinitetalk.buckets import plan_chunks

HEAVY = ("torch", "diffusers", "transformers")


@pytest.mark.parametrize(
    "modules", ["infinitetalk.buckets, infinitetalk.presets, infinitetalk.video_end", "render.parameters"]
)
def test_they_import_no_torch(modules: str) -> None:
    """Nor NumPy: every process of the service loads them, and most of these handle no frame."""
    code = f"import sys, {modules}; sys.exit(any(name in sys.modules for name in {(*HEAVY, 'numpy')}))"

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_engine_of_the_service_imports_no_torch() -> None:
    """In the service's own order: Django first."""
    code = (
        "import os, sys, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'tests.settings'; django.setup();"
        f"import render.engines.infinitetalk; sys.exit(any(name in sys.modules for name in {HEAVY}))"
    )

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(("per_chunk", "motion"), [(81, 9), (17, 5), (9, 1)])
def test_the_chunks_show_every_frame_once(per_chunk: int, motion: int) -> None:
    for num_frames in range(1, 501):
        chunks = plan_chunks(num_frames, num_frames_per_chunk=per_chunk, motion_frames=motion)

        shown = [range(chunk.start + chunk.keep_from, min(chunk.stop, num_frames)) for chunk in chunks]
        assert [frame for part in shown for frame in part] == list(range(num_frames))
        assert all(shown)
        assert all(chunk.num_frames % 4 == 1 for chunk in chunks)
        assert [chunk.is_last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
