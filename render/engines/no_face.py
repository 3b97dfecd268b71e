"""The error `no_face`: every sentence that tells a customer that a face is missing or cannot be used.

Apart from the search for faces (`render.engines.faces`), because web processes need the sentences and not the networks.
"""

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
    detail = f"The face is too small: it would be {width:.0f} pixels wide, {least:.0f} are needed."
    return ServiceError(CODE, detail, param=PARAM)


def turned_away() -> ServiceError:
    return ServiceError(CODE, "The face is turned away from the camera.", param=PARAM)


def too_far_apart() -> ServiceError:
    detail = "The faces are too far apart: no part of the image that fits into a video shows one for each voice."
    return ServiceError(CODE, detail, param=PARAM)
