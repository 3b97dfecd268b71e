"""The types of `Render.sources` and `Render.warnings`, which the step `prepare` writes for the steps after it."""

from typing import Any, NotRequired, TypedDict


class Speech(TypedDict):
    """The spoken script, which is kept in the media storage for the customer."""

    key: str
    sha256: str  # in hex
    num_bytes: int
    duration_seconds: float


class SourceWarning(TypedDict):
    """Something that will not look well, or has no effect. A video can still be made."""

    param: str  # of the request
    code: str
    detail: str


class Sources(TypedDict):
    """Storage keys of a render's normalised files, as `Render.sources` keeps them."""

    portrait: str | None
    video: str | None
    voices: list[str]
    sound: list[tuple[str, float]]  # each voice in its own quality, and the second at which it starts
    speech: NotRequired[Speech]
    # The part of the portrait or video that is shown, as `RenderPlan.crop`. Apart, because version 0.1.0 reads it here.
    crop: NotRequired[tuple[int, int, int, int]]
    shown: NotRequired[dict[str, Any]]  # `faces`, `regions` and `mark` of RenderPlan


def source_keys(sources: Sources) -> list[str]:
    """The storage keys of all files except the speech, which belongs to the customer."""
    keys = [sources["portrait"], sources["video"], *sources["voices"], *(key for key, _ in sources["sound"])]
    return [key for key in keys if key]
