"""Which speaker each picture token looks at: what the golden data does not show."""

import torch

from infinitetalk.model.speaker_rope import BACKGROUND_POSITION, query_positions, speaker_map

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
