import numpy as np
import pytest
import skimage.data
from PIL import Image

from accounts.errors import ServiceError
from render.engines.faces import FaceFinder
from render.parameters import Parameters
from tests.render.engines.conftest import inputs, plan_of


def refusal(picture: np.ndarray, tmp_path, *voices) -> ServiceError:
    Image.fromarray(picture).save(tmp_path / "picture.png")
    with pytest.raises(ServiceError) as caught:
        plan_of(inputs(tmp_path / "picture.png", *voices), Parameters(seed=0))
    return caught.value


@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket"])
def test_a_picture_without_a_person_is_refused(name, tmp_path, silence):
    error = refusal(getattr(skimage.data, name)(), tmp_path, silence)
    assert (error.code, error.detail, error.param) == (
        "no_face",
        "No face was found. Send an image in which the face is large, not covered and looks at the camera.",
        "image_url",
    )


def test_a_face_of_a_few_pixels_is_refused(tmp_path, astronaut, silence):
    picture = np.full((640, 640, 3), 128, np.uint8)
    picture[200:300, 200:300] = np.asarray(Image.fromarray(astronaut).resize((100, 100)))
    assert "too small" in refusal(picture, tmp_path, silence).detail


def test_a_face_in_profile_is_refused(tmp_path, silence):
    cameraman = np.stack([skimage.data.camera()[60:260, 150:350]] * 3, axis=-1)
    assert "turned away" in refusal(cameraman, tmp_path, silence).detail


def test_a_second_voice_needs_a_second_face(tmp_path, astronaut, silence):
    error = refusal(astronaut, tmp_path, silence, silence)
    assert (
        error.detail
        == "Two voices were given, but only one face was found. Send an image with two faces, or one voice."
    )
    assert (error.code, error.param) == ("no_face", "image_url")


@pytest.mark.parametrize("degrees", [-30, 30])
def test_a_tilted_head_is_found(degrees):
    tilted = Image.fromarray(skimage.data.astronaut()).rotate(degrees, resample=Image.Resampling.BICUBIC)
    (face,) = FaceFinder().find(np.asarray(tilted))
    assert abs(abs(face.roll) - 30) < 5


def test_two_faces_of_a_wide_picture_are_found(couple):
    faces = FaceFinder().find(np.asarray(Image.open(couple)))
    assert len(faces) == 2
