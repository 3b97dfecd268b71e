"""What a customer is told when a face is missing, cannot be used, has no room, or is too far apart from the other one.

The codes are `no_face`, `face_cropped` and `no_face_in_box`.

Apart from the search for faces (`render.engines.faces`), because web processes need the sentences and not the networks.
"""

from collections.abc import Mapping
from typing import Literal

from accounts.errors import ServiceError

CODE = "no_face"
PARAM = "image_url"


def none_found(medium: Literal["image", "video"] = "image", *, param: str = PARAM) -> ServiceError:
    example = "an image" if medium == "image" else "a video"
    detail = f"No face was found. Send {example} in which the face is large, not covered and looks at the camera."
    return ServiceError(CODE, detail, param=param)


def one_for_two_voices() -> ServiceError:
    detail = "Two voices were given, but only one face was found. Send an image with two faces, or one voice."
    return ServiceError(CODE, detail, param=PARAM)


def too_small(width: float, least: float) -> ServiceError:
    """width: of the face in the video, in pixels; least: the width that is needed."""
    detail = (
        f"The face is too small: it would be {int(width)} pixels wide in the video, {least:.0f} are needed. Send a "
        "closer image, or choose a higher resolution, or fit: crop."
    )
    return ServiceError(CODE, detail, param=PARAM)


def no_room(pixels: int, least: int, *, param: str) -> ServiceError:
    """pixels: of the shorter side of a speaker's part of the video; least: how many are needed."""
    detail = (
        f"A speaker's face is too small, or too close to another one: its part of the video would be {max(pixels, 0)} "
        f"pixels wide; {least} are needed."
    )
    return ServiceError(CODE, detail, param=param)


def turned_away() -> ServiceError:
    return ServiceError(CODE, "The face is turned away from the camera.", param=PARAM)


def too_far_apart() -> ServiceError:
    detail = (
        "The faces are too far apart: no part of the image that fits into a video shows one for each voice. Another "
        "aspect_ratio, or fit: pad, may show both."
    )
    return ServiceError(CODE, detail, param=PARAM)


def cropped(*, param: str = PARAM) -> ServiceError:
    detail = "The edge of the image cuts the face off. Send an image in which the whole face can be seen."
    return ServiceError("face_cropped", detail, param=param)


def no_such_index(index: int, found: int, *, param: str) -> ServiceError:
    """index: as requested; found: the number of faces in the image."""
    number = "1 face was" if found == 1 else f"{found} faces were"
    detail = f"index is {index}, and {number} found; they are counted from 0, from left to right."
    return ServiceError(CODE, detail, param=param)


def none_in_box(box: Mapping[str, float], found: int, *, param: str) -> ServiceError:
    """box: as requested; found: the number of faces in the image."""
    asked = ", ".join(f"{name} {value:g}" for name, value in box.items())
    elsewhere = "one face was found elsewhere" if found == 1 else f"{found} faces were found elsewhere"
    detail = (
        f"No face has its middle in this box ({asked}); {elsewhere}. x, y, width and height are shares of the image."
    )
    return ServiceError("no_face_in_box", detail, param=param)
