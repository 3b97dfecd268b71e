"""Several people in a picture: what the model is told of whose face a voice moves."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infinitetalk.conditioning.speaker_masks import VAE_STRIDE, speaker_masks
from render.engines.base import RenderPlan
from render.engines.faces import FaceFinder
from render.engines.infinitetalk import InfiniteTalkEngine
from render.frame.fit import fit
from render.frame.shot import Shot, Source, plan_shot
from render.parameters import Parameters
from tests.engines import FreeLease
from tests.render.both_engines.crowd import by_index
from tests.render.engines.conftest import inputs

FIRST, SECOND, BACKGROUND = 0, 1, 2


def final_shot(found: Source, parameters: Parameters, speakers: Sequence, count: int = 1) -> Shot:
    """In a size in which a tiny model is quick and three people have room."""
    return plan_shot(found, parameters, speakers, num_voices=count, pixels=112 * 336)


def owners_of_faces(picture: Path, shot: Shot, plan: RenderPlan) -> list[int]:
    """To whom the model gives the middle of each face that is found in the frame, from left to right."""
    image = np.asarray(Image.open(picture))
    whole = image if shot.crop is None else image[shot.crop[0] :][: shot.crop[2], shot.crop[1] :][:, : shot.crop[3]]
    enlarged = fit(whole, 3 * shot.size[0], 3 * shot.size[1])
    masks = speaker_masks(whole.shape[:2], shot.size, plan.regions).numpy()
    faces = sorted(FaceFinder().find(enlarged), key=lambda face: float(face.centre[0]))
    places = [(face.centre / 3 // VAE_STRIDE).astype(int) for face in faces]
    return [int(masks[:, y, x].argmax()) for x, y in places]


@pytest.mark.parametrize(
    ("speakers", "aspect_ratio", "variant", "owners"),
    [
        (by_index(0), "source", "2-none", [FIRST, SECOND, SECOND]),
        (by_index(1), "source", "2-none", [SECOND, FIRST, SECOND]),
        (by_index(2), "source", "2-none", [SECOND, SECOND, FIRST]),
        (by_index(2, 0), "source", "2-none", [SECOND, BACKGROUND, FIRST]),
        (by_index(1, 2), "source", "2-none", [BACKGROUND, FIRST, SECOND]),
        (by_index(0, 1), "16:9", "2-none", [FIRST, SECOND]),
        (by_index(2, 1), "16:9", "2-none", [SECOND, FIRST]),
        (by_index(0), "16:9", "2-none", [FIRST, SECOND]),
        (by_index(0), "1:1", "1-none", []),
        (by_index(1), "1:1", "1-none", []),
        (by_index(1), "9:16", "1-none", []),
        ([], "source", "1-none", []),
    ],
)
def test_the_model_is_told_whose_face_it_is(crowd, found, loud, speakers, aspect_ratio, variant, owners) -> None:
    """Also where a part of the picture is shown: who is not in it is no speaker."""
    parameters = Parameters(seed=1, frame_num=5, aspect_ratio=aspect_ratio, lora_scale=0)
    count = len(speakers) or 1
    shot = final_shot(found, parameters, speakers, count)
    plan = InfiniteTalkEngine("/no/socket").plan(inputs(crowd, *[loud] * count), parameters, shot)

    assert plan.variant == variant
    assert bool(plan.regions) == bool(owners)
    if owners:
        assert owners_of_faces(crowd, shot, plan) == owners


@pytest.mark.slow
@pytest.mark.parametrize(
    ("speakers", "aspect_ratio"),
    [(by_index(0), "source"), (by_index(2, 0), "source"), (by_index(0), "16:9"), (by_index(0), "1:1")],
)
def test_the_model_server_renders_what_was_chosen(crowd, found, loud, tiny_model, speakers, aspect_ratio) -> None:
    parameters = Parameters(seed=1, frame_num=5, aspect_ratio=aspect_ratio, lora_scale=0, sample_steps=1)
    given, engine = inputs(crowd, *[loud] * len(speakers)), tiny_model.engine()
    shot = final_shot(found, parameters, speakers, len(speakers))
    plan = engine.plan(given, parameters, shot)
    [piece] = engine.segments(given, parameters, plan, None, FreeLease())

    [job], [reference] = tiny_model.jobs, tiny_model.references
    assert piece.frames.shape == (5, *shot.size, 3)
    assert job.variant.name == plan.variant
    assert [[tuple(map(int, box)) for box in boxes] for boxes in job.speaker_boxes or ()] == [*map(list, plan.regions)]
    image = np.asarray(Image.open(crowd))
    top, left, height, width = shot.crop or (0, 0, *image.shape[:2])
    assert np.array_equal(reference, image[top : top + height, left : left + width])
