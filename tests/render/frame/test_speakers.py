"""Whose face a voice moves: what the customer may choose, and what is refused."""

import pytest

from accounts.errors import ServiceError
from render.frame.boxes import WHOLE, Box
from render.frame.speakers import Speakers, choose_speakers

LEFT, MIDDLE, RIGHT = Box(0.1, 0.3, 0.1, 0.2), Box(0.45, 0.3, 0.1, 0.2), Box(0.8, 0.3, 0.12, 0.24)
FACES = (RIGHT, LEFT, MIDDLE)  # the widest first


def by_index(*indices: int) -> list[dict]:
    return [{"audio": number, "face": {"index": index}} for number, index in enumerate(indices, start=1)]


def by_box(*boxes: Box) -> list[dict]:
    return [{"audio": number, "face": {"box": box.as_json()}} for number, box in enumerate(boxes, start=1)]


@pytest.mark.parametrize(("index", "face"), [(0, LEFT), (1, MIDDLE), (2, RIGHT)])
def test_an_index_counts_from_left_to_right(index, face) -> None:
    speakers = choose_speakers(by_index(index), FACES)

    assert speakers.faces == (face,)
    assert len(speakers.others) == 2


def test_a_box_means_the_widest_face_whose_middle_it_holds() -> None:
    assert choose_speakers(by_box(Box(0.4, 0.2, 0.6, 0.6)), FACES).faces == (RIGHT,)
    assert choose_speakers(by_box(MIDDLE), FACES).faces == (MIDDLE,)
    assert choose_speakers(by_box(WHOLE), FACES).faces == (RIGHT,)


def test_the_order_of_the_list_does_not_matter_the_number_of_the_voice_does() -> None:
    assert choose_speakers(by_index(2, 0)[::-1], FACES).faces == (RIGHT, LEFT)


def test_regions_hold_the_head_and_do_not_reach_into_another_face() -> None:
    near = (Box(0.2, 0.3, 0.2, 0.3), Box(0.45, 0.3, 0.2, 0.3), Box(0.7, 0.3, 0.2, 0.3))
    for chosen in range(3):
        speakers = choose_speakers(by_index(chosen), near)
        [region] = speakers.regions
        assert region.overlap(near[chosen]) == pytest.approx(1)
        others = [face for face in near if face is not near[chosen]]
        for head, face in zip(speakers.others, others, strict=True):
            assert head.overlap(face) == pytest.approx(1)
            assert head.overlap(near[chosen]) == pytest.approx(0)
    two = choose_speakers(by_index(0, 1), near).regions
    assert two[0].overlap(two[1]) == pytest.approx(0)
    assert two[0].overlap(near[0]) == pytest.approx(1) and two[1].overlap(near[1]) == pytest.approx(1)


def test_a_box_that_covers_the_image_is_accepted() -> None:
    speakers = choose_speakers(by_box(WHOLE), FACES)

    assert speakers.regions[0].overlap(WHOLE) == 1
    # The heads of the others are theirs: boxes within it, which win.
    assert len(speakers.others) == 2


def test_where_no_face_was_found_at_all_the_box_is_taken_as_it_is() -> None:
    drawn = Box(0.2, 0.2, 0.3, 0.4)
    assert choose_speakers(by_box(drawn), ()).faces == (drawn,)


def test_nobody_chosen_is_nobody() -> None:
    assert choose_speakers([], FACES) == Speakers()


@pytest.mark.parametrize(
    ("requested", "faces", "cut_off", "code", "param", "told"),
    [
        (by_index(3), FACES, (), "no_face", "speakers.0.face", "index is 3, and 3 faces were found"),
        (by_index(1), (LEFT,), (), "no_face", "speakers.0.face", "1 face was found"),
        (by_index(0), (), (LEFT,), "face_cropped", "speakers.0.face", "cuts the face off"),
        (by_box(Box(0.25, 0.3, 0.1, 0.1)), FACES, (), "no_face_in_box", "speakers.0.face", "x 0.25"),
        (by_box(Box(0, 0, 0.1, 0.1)), FACES, (Box(-0.05, 0, 0.2, 0.1),), "face_cropped", "speakers.0.face", "cuts"),
        (by_index(1, 1), FACES, (), "speakers_overlap", "speakers", "same face"),
        (by_box(WHOLE, LEFT), FACES, (), "speakers_overlap", "speakers", "same face"),
    ],
)
def test_what_is_refused(requested, faces, cut_off, code, param, told) -> None:
    with pytest.raises(ServiceError, match=told) as caught:
        choose_speakers(requested, faces, cut_off)

    assert (caught.value.code, caught.value.param) == (code, param)
