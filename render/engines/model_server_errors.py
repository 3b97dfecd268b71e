"""Errors of InfiniteTalk's model server, and what each means for the render."""

from typing import Any, NoReturn

from accounts.errors import PROBLEM_TYPES, ServiceError
from render.node_faults import NodeFault

Message = dict[str, Any]  # as the server sends it, see `infinitetalk.server.protocol`


class ServerLost(Exception):
    """The model server has ended, or is about to."""


class ModelServerError(Exception):
    """An error that the model server has reported: its code and its sentence."""


def raise_reported(message: Message, variant: str) -> NoReturn:
    """Raise what an error of the model server means for the render.

    The server's sentence is in the raised error or in its cause, so the node's fault or the render's trace shows it.
    It is not shown to customers: it may name files of the machine.
    """
    code, detail = message["code"], message["detail"]
    reported = ModelServerError(f"The model server answered {code}: {detail}")
    if code in ("gpu_failed", "aborted"):
        raise ServerLost(detail) from reported
    if code == "model_file_missing":
        raise NodeFault(f"The model server: {detail}", variant=variant) from reported
    if code in ("machine_failed", "file_unreadable", "attention_missing", "attention_unusable"):
        raise NodeFault(f"The model server: {detail}") from reported
    if code == "gpu_out_of_memory":
        raise ServiceError(code, "The GPU has too little memory for this render.") from reported
    if code in ("image_invalid", "video_invalid"):
        raise ServiceError(code, PROBLEM_TYPES[code].title + ".", param="image_url") from reported
    if code in ("audio_invalid", "audio_empty"):
        raise ServiceError(code, PROBLEM_TYPES[code].title + ".", param="audio_url") from reported
    raise reported
