"""Which speaker each picture token looks at: what the golden data does not show."""

import pytest
import torch
from torch.nn import functional as F

from infinitetalk.conditioning.speaker_masks import BACKGROUND, Box, speaker_masks
from infinitetalk.model.audio_attention import AudioAttention
from infinitetalk.model.speaker_rope import BACKGROUND_POSITION, SPEAKER_BANDS, query_positions, speaker_map

FRAMES, TOKENS, HEADS, WIDTH = 3, 12, 4, 16


def looks(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 1, FRAMES * TOKENS, HEADS, WIDTH, generator=generator).to(dtype)
    return query, key


def masks(*sizes: int) -> torch.Tensor:
    """Left, right and background: so many tokens of the first frame each."""
    return torch.arange(3)[:, None] == torch.arange(3).repeat_interleave(torch.tensor(sizes))


def test_boxes_that_leave_no_background_put_nobody_there() -> None:
    classes = speaker_map(*looks(torch.float32), masks(5, 7, 0))
    positions = query_positions(classes)

    assert classes.isfinite().all() and positions.isfinite().all()
    assert classes[2].eq(0).all()
    assert positions.ne(BACKGROUND_POSITION).all()


def test_the_map_is_the_mean_attention_to_each_class() -> None:
    query, key = looks(torch.float32)

    classes = speaker_map(query, key, masks(2, 3, 7))

    scores = torch.einsum("qhd,khd->hqk", query[0], key[0, :TOKENS]) / WIDTH**0.5
    attention = scores.softmax(dim=-1).mean(dim=0)  # L, S
    expected = torch.stack([part.mean(dim=1) for part in attention.split([2, 3, 7], dim=1)])
    assert torch.allclose(classes, expected, atol=1e-6)


def test_in_bfloat16_it_is_the_same_to_within_its_precision() -> None:
    query, key = looks(torch.bfloat16)

    classes = speaker_map(query, key, masks(2, 3, 7))

    exact = speaker_map(query.float(), key.float(), masks(2, 3, 7))
    assert classes.dtype == torch.float32
    assert torch.allclose(classes, exact, rtol=2**-7)


# Three people beside each other in 64 x 240 pixels, so 4 x 15 tokens.
PEOPLE: list[Box] = [(16, 16, 64, 64), (16, 96, 64, 144), (16, 176, 64, 224)]
TALKER = 1
OTHERS = [PEOPLE[0], PEOPLE[2]]
EVERYWHERE: Box = (0, 0, 64, 240)


def token_masks(speaker_boxes: list[list[Box]]) -> torch.Tensor:
    """3, S: as the transformer makes them of the masks of the latents."""
    return speaker_masks((64, 240), (64, 240), speaker_boxes)[:, ::2, ::2].flatten(1)


def positions_of(token_masks: torch.Tensor) -> torch.Tensor:
    """Of tokens that look at their own class alone, as those of a trained model mostly do, in two latent frames."""
    looks = F.pad(9 * token_masks.T, (0, WIDTH - 3)).repeat(2, 1)[None, :, None]
    return query_positions(speaker_map(looks, looks, token_masks > 0))


@pytest.mark.parametrize("first", [PEOPLE[TALKER], EVERYWHERE])
def test_of_three_people_the_one_who_talks_is_the_first_and_all_others_are_the_second(first: Box) -> None:
    masks = token_masks([[first], OTHERS])
    owners = masks.argmax(dim=0).repeat(2)

    positions = positions_of(masks)

    assert positions.isfinite().all()
    for person, (low, high) in enumerate(SPEAKER_BANDS):
        assert ((low <= positions) & (positions <= high)).equal(owners == person)
    assert positions.eq(BACKGROUND_POSITION).equal(owners == BACKGROUND)
    others = token_masks([OTHERS, [PEOPLE[TALKER]]])[0] > 0
    assert others.sum() == 2 * 3 * 3
    assert others.repeat(2).equal(owners == 1)


@pytest.mark.parametrize("talks_first", [True, False])
def test_each_voice_is_heard_where_its_boxes_are(talks_first: bool) -> None:
    """The real voice attention; in its layers all tokens ask alike, and the voices say 1 (first) and -1 (second)."""
    speaker_boxes = [[PEOPLE[TALKER]], OTHERS]
    masks = token_masks(speaker_boxes if talks_first else speaker_boxes[::-1])
    attention = AudioAttention(dim=WIDTH, heads=1, audio_dim=1)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.zero_()
        attention.q_linear.bias.fill_(3)
        attention.kv_linear.bias[:WIDTH] = 3
        attention.kv_linear.weight[WIDTH:] = 1
        attention.proj.weight.copy_(torch.eye(WIDTH))
        voices = torch.tensor([1.0, 1, -1, -1])[None, :, None].expand(2, -1, -1)

        heard = attention(torch.zeros(1, masks.shape[1] * 2, WIDTH), voices, positions_of(masks))[0, :, 0]

    talker = token_masks(speaker_boxes)[0].repeat(2) > 0
    others = token_masks(speaker_boxes)[1].repeat(2) > 0
    sign = 1 if talks_first else -1
    assert (sign * heard[talker]).min() > 0.5
    assert (sign * heard[others]).max() < -0.5
    assert heard[~talker & ~others].abs().max() < 0.01
