"""A picture or video whose edge cuts the mouth off is refused before anything is rendered."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from accounts.errors import ServiceError
from render.engines.draft.engine import DraftEngine
from render.frame.boxes import WHOLE
from render.frame.found_faces import find_faces
from render.frame.shot import plan_shot
from render.parameters import Parameters
from tests.render.engines.conftest import inputs, write_video

PARAMETERS = Parameters(seed=1, frame_num=5)


@pytest.fixture(params=["image", "video"])
def source(request, tmp_path: Path) -> Path:
    """The astronaut, down to her upper lip."""
    picture = np.ascontiguousarray(skimage.data.astronaut()[:144, 75:375])
    if request.param == "video":
        return write_video(tmp_path / "source.mp4", [picture] * 13, *picture.shape[:2])
    Image.fromarray(picture).save(tmp_path / "source.png")
    return tmp_path / "source.png"


def shot_of(source: Path, speakers: list[dict]):
    is_video = source.suffix == ".mp4"
    found = find_faces(source, is_video=is_video)
    assert (len(found.faces), len(found.cut_off)) == (0, 1)
    return plan_shot(found, PARAMETERS, speakers, num_voices=1, pixels=144 * 300)


def test_it_is_refused(source, silent) -> None:
    shot = shot_of(source, [])

    with pytest.raises(ServiceError, match="cuts the face off") as caught:
        DraftEngine().plan(inputs(source, silent), PARAMETERS, shot)
    assert (caught.value.code, caught.value.param) == ("face_cropped", "image_url")


@pytest.mark.parametrize("face", [{"index": 0}, {"box": WHOLE.as_json()}], ids=["by index", "by box"])
def test_it_is_refused_as_a_speaker(source, face: dict) -> None:
    with pytest.raises(ServiceError, match="cuts the face off") as caught:
        shot_of(source, [{"audio": 1, "face": face}])
    assert (caught.value.code, caught.value.param) == ("face_cropped", "speakers.0.face")
