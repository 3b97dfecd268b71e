"""The model's masks for random faces, choices and shapes: whoever was chosen gets the voice, and nobody else."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from accounts.errors import ServiceError
from infinitetalk.conditioning.speaker_masks import VAE_STRIDE, speaker_masks
from infinitetalk.server.protocol import RenderJob
from render.frame.boxes import Box
from render.frame.shot import Shot, Source, plan_shot
from render.frame.size import ASPECT_RATIOS
from render.frame.speakers import left_to_right
from render.parameters import Parameters
from tests.infinitetalk.server.test_app import job

CASES = 250


@dataclass(frozen=True)
class Case:
    source: Source
    requested: list[dict]
    chosen: list[Box]  # by voice
    parameters: Parameters


def faces_in(random: np.random.Generator, height: int, width: int) -> list[Box]:
    """Up to six squares, which may touch, but do not lie in each other's middle."""
    squares: list[tuple[float, float, float]] = []  # x and y of the middle, side
    for _ in range(random.integers(1, 7)):
        side = random.uniform(0.08, 0.5) * min(height, width)
        x, y = random.uniform(side / 2, width - side / 2), random.uniform(side / 2, height - side / 2)
        if all(np.hypot(x - other[0], y - other[1]) > 0.9 * max(side, other[2]) for other in squares):
            squares.append((x, y, side))
    squares.sort(key=lambda square: -square[2])
    return [Box((x - side / 2) / width, (y - side / 2) / height, side / width, side / height) for x, y, side in squares]


def cases() -> Iterator[Case]:
    random = np.random.default_rng(3)
    for _ in range(CASES):
        height, width = map(int, random.integers(150, 900, 2))
        faces = faces_in(random, height, width)
        indices = random.permutation(len(faces))[: random.integers(1, 3)]
        chosen = [left_to_right(faces)[index] for index in indices]
        boxes = [face.expanded(above=0.2, below=0.2, beside=0.2).as_json() for face in chosen]
        by_index = random.random() < 0.5
        requested = [
            {"audio": voice, "face": {"index": int(index)} if by_index else {"box": box}}
            for voice, (index, box) in enumerate(zip(indices, boxes, strict=True), start=1)
        ]
        shape, fit = random.choice(ASPECT_RATIOS), random.choice(["crop", "pad"])
        parameters = Parameters(seed=1, aspect_ratio=str(shape), fit=str(fit))
        yield Case(Source((height, width), tuple(faces)), requested, chosen, parameters)


def owners(shot: Shot, places: list[tuple[float, float]], num_voices: int) -> list[int]:
    """The model's owner of each place of the frame: 0 or 1 a speaker, 2 nobody. As the message of a job says it."""
    message = job(voices=["/voice.wav"] * num_voices, speaker_boxes=shot.regions, size=shot.size)
    given = RenderJob.from_message(message)
    assert given.speaker_boxes is not None
    source = shot.crop[2:] if shot.crop else shot.source_size
    masks = speaker_masks(source, shot.size, given.speaker_boxes).numpy()
    return [
        int(masks[:, int(y * shot.size[0] / VAE_STRIDE), int(x * shot.size[1] / VAE_STRIDE)].argmax())
        for x, y in places
    ]


def test_whoever_was_chosen_gets_the_voice_and_nobody_else() -> None:
    seen: Counter[str] = Counter()
    for case in cases():
        num_voices = len(case.chosen)
        try:
            shot = plan_shot(case.source, case.parameters, case.requested, num_voices=num_voices, pixels=640 * 640)
        except ServiceError as error:
            assert error.code in ("no_face", "speakers_overlap")
            seen[error.code] += 1
            continue
        frame = shot.framing.shown
        spoken = [face.seen_from(frame) for face in case.chosen]
        others = [face.seen_from(frame) for face in case.source.faces if face not in case.chosen]
        in_view = [
            other
            for other in others
            if 0 < other.centre[0] < 1
            and 0 < other.centre[1] < 1
            and min(other.width * shot.size[1], other.height * shot.size[0]) > 20
        ]
        final = shot.composed() if shot.framing.is_padded else shot
        if not final.regions:
            assert num_voices == 1 and not in_view
            seen["alone"] += 1
            continue
        places = [face.centre for face in [*spoken, *in_view]]
        found = owners(final, places, num_voices)
        assert found[:num_voices] == [*range(num_voices)], case
        if num_voices == 1:
            assert found[1:] == [1] * len(in_view), case
        seen[f"{num_voices} of {num_voices + len(in_view)}"] += 1

    assert min(seen[kind] for kind in ("alone", "no_face", "1 of 2", "1 of 3", "2 of 2", "2 of 3")) > 3, seen
