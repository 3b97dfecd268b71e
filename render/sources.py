"""What `prepare` leaves for the steps after it."""

from typing import NotRequired, TypedDict


class Speech(TypedDict):
    """What was spoken of a script, kept in the media storage for the customer."""

    key: str
    sha256: str
    num_bytes: int
    duration_seconds: float


class SourceWarning(TypedDict):
    """Something is wrong with a customer's file, and a film can still be made of it."""

    param: str  # of the request, that has named the file
    code: str
    detail: str


class Sources(TypedDict):
    """Storage keys of a render's normalised files, as `Render.sources` keeps them."""

    portrait: str | None
    video: str | None
    voices: list[str]
    sound: list[tuple[str, float]]  # each voice as it came, and the second at which it starts
    speech: NotRequired[Speech]
    crop: NotRequired[tuple[int, int, int, int]]  # what is shown of the portrait or video, as `Plan.crop`


def keys_of(sources: Sources) -> list[str]:
    """Of all its files but the speech, which is the customer's."""
    keys = [sources["portrait"], sources["video"], *sources["voices"], *(key for key, _ in sources["sound"])]
    return [key for key in keys if key]
