"""Several people in a picture or a video: whose face a voice moves, in the draft."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from render.engines.base import RenderInputs
from render.engines.draft.draft_mark import DraftMark
from render.engines.draft.dubbed_video import SourceFrames
from render.engines.draft.engine import DraftEngine
from render.frame.boxes import Box
from render.frame.found_faces import find_faces
from render.frame.shot import Source, plan_shot
from render.frame.speakers import left_to_right
from render.media.isolation import calls as isolated
from render.parameters import Parameters
from tests.engines import FreeLease
from tests.render.both_engines.crowd import GREY, HEIGHT, WIDTH, by_box, by_index, resized
from tests.render.both_engines.numbered_clips import STRIP, Clip, number_of, write_clip
from tests.render.engines.conftest import inputs

FRAMES = 8


@pytest.fixture(scope="module")
def people(found: Source) -> list[Box]:
    """Their faces, from left to right."""
    assert len(found.faces) == 3
    return left_to_right(found.faces)


def draft(given: RenderInputs, source: Source, speakers: Sequence, **parameters) -> np.ndarray:
    """All frames, in the size of the source."""
    engine, resolved = DraftEngine(), Parameters(seed=7, frame_num=FRAMES, **parameters)
    pixels = source.size[0] * source.size[1]
    shot = plan_shot(source, resolved, speakers, num_voices=len(given.voices), pixels=pixels)
    assert shot.size == source.size
    plan = engine.plan(given, resolved, shot)
    return np.concatenate([piece.frames for piece in engine.segments(given, resolved, plan, None, FreeLease())])


def motion(frames: np.ndarray, people: Sequence[Box]) -> list[int]:
    """Of each person's face and the hair and neck around it: by how many levels of 255 a pixel changes at most."""
    change = np.ptp(frames, axis=0).max(axis=-1)
    boxes = [face.expanded(above=0.3, below=0.2, beside=0.2).in_pixels(*change.shape) for face in people]
    return [int(change[top:bottom, left:right].max()) for top, left, bottom, right in boxes]


@pytest.mark.parametrize("chosen", [0, *(pytest.param(other, marks=pytest.mark.slow) for other in (1, 2))])
def test_only_the_chosen_face_of_a_picture_moves(crowd, found, people, loud, chosen: int) -> None:
    given = inputs(crowd, loud)
    frames = draft(given, found, by_index(chosen))

    moved = motion(frames, people)
    assert moved[chosen] > 60
    assert [levels for person, levels in enumerate(moved) if person != chosen] == [0, 0]


@pytest.mark.slow
def test_a_box_drawn_by_hand_means_the_same_face(crowd, found, people, loud) -> None:
    given, box = inputs(crowd, loud), people[2].expanded(above=0.3, below=0.1, beside=0.2)

    assert np.array_equal(draft(given, found, by_box(box)), draft(given, found, by_index(2)))


def test_by_default_one_voice_moves_the_widest_face(crowd, found, people, loud) -> None:
    moved = motion(draft(inputs(crowd, loud), found, []), people)

    assert moved[1] > 60
    assert moved[::2] == [0, 0]


def test_of_two_voices_each_has_its_face_and_the_third_keeps_still(crowd, found, people, loud, silent) -> None:
    frames = draft(inputs(crowd, loud, silent), found, by_index(2, 0))

    assert motion(frames, people)[1] == 0
    frames = frames.astype(int)
    loudest = [np.abs(frames[number] - frames[0]) for number in range(FRAMES)]
    mouths = [Box(face.x, face.y + 0.6 * face.height, face.width, 0.35 * face.height) for face in people]
    spoken = [
        max(change[top:bottom, left:right].mean() for change in loudest)
        for top, left, bottom, right in (mouth.in_pixels(HEIGHT, WIDTH) for mouth in mouths)
    ]
    assert spoken[2] > 3 * spoken[0] > spoken[1] == 0


# --- Videos ---


def two_people(folder: Path, head: np.ndarray, hidden: range = range(0)) -> Path:
    """The right one is larger, and behind something in the frames `hidden`."""
    left, right = resized(head, 224, mirrored=False), resized(head, 272, mirrored=True)
    picture = np.full((272, 560, 3), GREY, np.uint8)
    picture[48:, :224], picture[:, 288:] = left, right
    behind = picture.copy()
    behind[:, 288:] = (60, 90, 60)
    source = folder / "source.mp4"
    write_clip(source, Clip.at(25, FRAMES + hidden.stop), lambda number: behind if number in hidden else picture)
    video = folder / "video.mp4"
    isolated.normalise_video(source, video, max_seconds=60, param="image_url", check=lambda: None)
    return video


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory, head: np.ndarray) -> Path:
    return two_people(tmp_path_factory.mktemp("filmed"), head)


def changed(frames: np.ndarray, video: Path) -> np.ndarray:
    """Where the frames differ from the video beside the mark of a draft, in levels of 255: T x H x W."""
    height, width = frames.shape[1:3]
    recorded = np.stack(list(SourceFrames(video, height, width).read(range(len(frames))).values()))
    for shown in (frames, recorded):
        assert [number_of(frame, width) for frame in shown] == [*range(len(frames))]
    change = np.abs(frames.astype(int) - recorded).max(axis=-1)
    change[(slice(None), *DraftMark(height, width).box)] = 0
    return change


@pytest.mark.parametrize(
    ("speakers", "moving"), [(by_index(0), 0), pytest.param(by_index(1), 1, marks=pytest.mark.slow), ([], 1)]
)
def test_only_the_chosen_face_of_a_video_is_dubbed(filmed, loud, speakers, moving: int) -> None:
    source = find_faces(filmed, is_video=True)
    change = changed(draft(inputs(filmed, loud), source, speakers), filmed)

    halves = change[:, :, :256], change[:, :, 256:]
    assert halves[moving].max() > 60
    assert halves[1 - moving].max() == 0
    assert change[:, :STRIP].max() == 0


@pytest.mark.parametrize("speakers", [pytest.param(by_index(1), marks=pytest.mark.slow), []])
def test_a_voice_does_not_go_over_to_somebody_else_while_its_speaker_is_hidden(tmp_path, head, loud, speakers) -> None:
    video = two_people(tmp_path, head, hidden=range(4, 18))
    source = find_faces(video, is_video=True)
    engine, resolved = DraftEngine(), Parameters(seed=7, frame_num=FRAMES + 18)
    shot = plan_shot(source, resolved, speakers, num_voices=1, pixels=source.size[0] * source.size[1])
    given = inputs(video, loud)
    plan = engine.plan(given, resolved, shot)
    [piece] = engine.segments(given, resolved, plan, None, FreeLease())

    change = changed(piece.frames, video)

    assert change[:, :, :256].max() == 0
    assert change[:4].max() > 20 < change[20:].max()
    assert change[4:18].max() == 0


@pytest.mark.slow
@pytest.mark.parametrize("aspect_ratio", ["1:1", "9:16"])
@pytest.mark.parametrize("chosen", [0, 1])
def test_a_part_of_a_video_shows_the_chosen_face_and_moves_it(filmed, loud, aspect_ratio: str, chosen: int) -> None:
    source, engine = find_faces(filmed, is_video=True), DraftEngine()
    parameters = Parameters(seed=7, frame_num=FRAMES, aspect_ratio=aspect_ratio)
    given, pixels = inputs(filmed, loud), source.size[0] * source.size[1]
    shot = plan_shot(source, parameters, by_index(chosen), num_voices=1, pixels=pixels)
    [piece] = engine.segments(given, parameters, engine.plan(given, parameters, shot), None, FreeLease())

    assert shot.crop is not None
    recorded = SourceFrames(filmed, *shot.size, shot.crop).read(range(FRAMES))
    change = np.abs(piece.frames.astype(int) - np.stack(list(recorded.values()))).max(axis=(0, 3))
    face = left_to_right(source.faces)[chosen].seen_from(shot.framing.shown)
    top, left, bottom, right = face.expanded(above=0, below=0.4, beside=0.2).in_pixels(*shot.size)
    assert change[top:bottom, left:right].max() > 60
    change[top:bottom, left:right] = 0
    change[DraftMark(*shot.size).box] = 0
    assert change.max() == 0


@pytest.mark.slow
@pytest.mark.parametrize("degrees", [-35, 35])
@pytest.mark.parametrize("chosen", [0, 1])
def test_of_tilted_heads_only_the_chosen_one_moves(tmp_path, head, loud, degrees: int, chosen: int) -> None:
    tilted = np.asarray(Image.fromarray(head).rotate(degrees, Image.Resampling.BICUBIC, fillcolor=GREY))
    picture = np.full((288, 640, 3), GREY, np.uint8)
    picture[32:, :256], picture[32:, 384:] = tilted, tilted[:, ::-1]
    Image.fromarray(picture).save(tmp_path / "tilted.png")
    source = find_faces(tmp_path / "tilted.png", is_video=False)

    moved = motion(draft(inputs(tmp_path / "tilted.png", loud), source, by_index(chosen)), left_to_right(source.faces))

    assert moved[chosen] > 60
    assert moved[1 - chosen] == 0
