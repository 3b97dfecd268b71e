"""What is shown of a picture of any shape: the same in the draft and in the final video, with the whole face in it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from render.engines.draft.engine import DraftEngine
from render.engines.infinitetalk import InfiniteTalkEngine
from render.frame.fit import fit
from render.frame.found_faces import find_faces
from render.frame.shot import plan_shot
from render.frame.size import MAX_RATIO, RATIOS
from render.parameters import Parameters
from tests.engines import FreeLease
from tests.render.engines.conftest import inputs
from tests.shot_table import FITS, PICTURES, PLACES, rows


@pytest.mark.parametrize("resolution", ["480p", "720p"])
def test_of_each_shape_the_face_is_shown_whole_and_alike_in_the_draft_and_in_the_final_video(resolution: str) -> None:
    table = list(rows(resolution))

    assert len(table) == len(PICTURES) * len(PLACES) * (1 + len(RATIOS)) * len(FITS)
    for row in table:
        assert row.draft == row.final, row
        assert row.is_face_inside, row
        height, width = row.draft.size
        assert height % 16 == width % 16 == 0, row
        source_width, source_height = PICTURES[row.picture]
        own = min(max(source_height / source_width, 1 / MAX_RATIO), MAX_RATIO)
        assert height / width == pytest.approx(RATIOS.get(row.aspect_ratio, own), rel=0.02), row
        # What is cut off, computed anew: the frame's shape is laid into the picture.
        scale = max(height / source_height, width / source_width)
        cut = 1 - height * width / (scale**2 * source_height * source_width)
        assert row.draft.framing.cut == pytest.approx(cut if row.fit == "crop" or cut < 0.02 else 0, abs=0.003), row
        assert ("cropped" in [warning["code"] for warning in row.draft.warnings]) == (row.draft.framing.cut > 0.02)


@pytest.fixture
def portrait(tmp_path: Path, head: np.ndarray) -> Path:
    """Taller than wide, with the face in its lower half."""
    picture = np.full((400, 300, 3), (96, 110, 120), np.uint8)
    picture[144:, 22:278] = head
    Image.fromarray(picture).save(tmp_path / "portrait.png")
    return tmp_path / "portrait.png"


def test_a_draft_of_848_x_480_shows_what_was_planned(portrait, silent) -> None:
    parameters = Parameters(seed=1, frame_num=1, aspect_ratio="16:9")
    engine, given = DraftEngine(), inputs(portrait, silent)
    shot = plan_shot(find_faces(portrait, is_video=False), parameters, [], num_voices=1, pixels=engine.pixels("480p"))
    plan = engine.plan(given, parameters, shot)
    [piece] = engine.segments(given, parameters, plan, None, FreeLease())

    assert shot.crop is not None
    shown = fit(np.asarray(Image.open(portrait)), 480, 848, shot.crop)
    assert piece.frames.shape == (1, 480, 848, 3)
    [face] = [face.seen_from(shot.framing.shown) for face in find_faces(portrait, is_video=False).faces]
    eyes = round(face.centre[1] * 480)  # below, the mouth is closed
    assert np.abs(piece.frames[0, :eyes].astype(int) - shown[:eyes]).max() <= 12


@pytest.mark.slow
def test_a_final_video_of_848_x_480_shows_the_same_part(portrait, silent, tiny_model) -> None:
    parameters = Parameters(seed=1, frame_num=5, aspect_ratio="16:9", lora_scale=0, sample_steps=1)
    engine, given = tiny_model.engine(published_sizes=True), inputs(portrait, silent)
    assert engine.pixels("480p") == DraftEngine().pixels("480p") == InfiniteTalkEngine("/none").pixels("480p")
    shot = plan_shot(find_faces(portrait, is_video=False), parameters, [], num_voices=1, pixels=engine.pixels("480p"))
    [piece] = engine.segments(given, parameters, engine.plan(given, parameters, shot), None, FreeLease())

    assert piece.frames.shape == (5, 480, 848, 3)
    [reference] = tiny_model.references
    assert shot.crop is not None
    top, left, height, width = shot.crop
    assert np.array_equal(reference, np.asarray(Image.open(portrait))[top : top + height, left : left + width])
