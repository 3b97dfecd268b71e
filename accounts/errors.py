"""The problems that a caller can be told of: one stable code each, with its HTTP status (RFC 9457 problem details).

It lives in the lowest layer so that every layer raises the same error and none has to know HTTP.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ProblemType:
    status: int
    title: str
    retryable: bool = False


CONTENT_TYPE = "application/problem+json"  # RFC 9457

PROBLEM_TYPES = {
    "malformed": ProblemType(400, "Malformed request"),
    "invalid_cursor": ProblemType(400, "Invalid cursor"),
    "invalid_idempotency_key": ProblemType(400, "Invalid Idempotency-Key"),
    "unauthenticated": ProblemType(401, "Missing or invalid API key"),
    "key_expired": ProblemType(401, "API key expired or revoked"),
    "quota_exceeded": ProblemType(402, "Quota exceeded"),
    "spend_cap_reached": ProblemType(402, "Spend cap reached"),
    "storage_quota_exceeded": ProblemType(402, "Too much stored"),
    "insufficient_scope": ProblemType(403, "API key lacks a scope"),
    "exceeds_own_key": ProblemType(403, "More than the API key that asks may do itself"),
    "ip_not_allowed": ProblemType(403, "API key not allowed from this address"),
    "tenant_suspended": ProblemType(403, "Tenant suspended"),
    "not_found": ProblemType(404, "Not found"),
    "method_not_allowed": ProblemType(405, "Method not allowed"),
    "not_acceptable": ProblemType(406, "Not acceptable"),
    "asset_not_ready": ProblemType(409, "Asset not ready", retryable=True),
    "invalid_state": ProblemType(409, "Not possible in this state"),
    "too_many_takes": ProblemType(409, "Too many takes of a project"),
    "idempotency_in_progress": ProblemType(409, "The same request is at work", retryable=True),
    "upload_expired": ProblemType(410, "Upload expired"),
    "request_timeout": ProblemType(408, "The request's body came too slowly", retryable=True),
    "payload_too_large": ProblemType(413, "Payload too large"),
    "unsupported_media_type": ProblemType(415, "Unsupported media type"),
    "invalid": ProblemType(422, "Invalid input"),
    "idempotency_key_reused": ProblemType(422, "Idempotency-Key used for another request"),
    "price_missing": ProblemType(422, "No price for this render"),
    "engine_unavailable": ProblemType(422, "Engine not available here"),
    "asset_not_found": ProblemType(422, "No such asset"),
    "asset_unusable": ProblemType(422, "Asset not usable"),
    "size_mismatch": ProblemType(422, "Not the announced size"),
    "hash_mismatch": ProblemType(422, "Not the announced content"),
    "upload_missing": ProblemType(422, "The uploaded file is not there"),
    "media_invalid": ProblemType(422, "Not a picture, film or sound"),
    # What is wrong with a source file or its address.
    "url_not_allowed": ProblemType(422, "Address not allowed"),
    "redirect_not_allowed": ProblemType(422, "Redirect to an address that is not allowed"),
    "download_failed": ProblemType(422, "Download failed", retryable=True),
    "download_timeout": ProblemType(422, "Download too slow", retryable=True),
    "media_too_large": ProblemType(422, "File too large"),
    "media_too_complex": ProblemType(422, "File takes too much to decode"),
    "image_invalid": ProblemType(422, "Not a readable image"),
    "image_too_large": ProblemType(422, "Image has too many pixels"),
    "image_too_small": ProblemType(422, "Image has too few pixels"),
    "video_invalid": ProblemType(422, "Not a readable video"),
    "audio_invalid": ProblemType(422, "Not a readable voice recording"),
    "audio_empty": ProblemType(422, "The voice recording is empty"),
    "audio_too_short": ProblemType(422, "Voice recording too short"),
    "audio_too_long": ProblemType(422, "Voice recording too long"),
    "script_unspeakable": ProblemType(422, "Script cannot be spoken"),
    "no_face": ProblemType(422, "No face found"),
    "queue_full": ProblemType(429, "Too many renders waiting", retryable=True),
    "too_many_streams": ProblemType(429, "Too many open streams", retryable=True),
    "too_many_uploads": ProblemType(429, "Too many uploads announced", retryable=True),
    "too_many_changes": ProblemType(429, "Too many changes of API keys", retryable=True),
    "too_many_idempotency_keys": ProblemType(429, "Too many Idempotency-Keys", retryable=True),
    "rate_limited": ProblemType(429, "Too many requests", retryable=True),
    "unavailable": ProblemType(503, "Temporarily unavailable", retryable=True),
    "internal": ProblemType(500, "Internal error", retryable=True),
    # How a render ends that began well; seen in `project.error`, not as the answer to a request.
    "canceled": ProblemType(409, "Canceled"),
    "gpu_out_of_memory": ProblemType(500, "Out of GPU memory", retryable=True),
    "model_file_missing": ProblemType(500, "Files of the model missing or damaged"),
    "render_timeout": ProblemType(500, "Render made no progress", retryable=True),
    "speech_failed": ProblemType(500, "Speech engine not available", retryable=True),
    "upload_failed": ProblemType(500, "Upload of the result failed", retryable=True),
    "work_lost": ProblemType(500, "Files of the render lost"),
    "worker_lost": ProblemType(500, "Worker lost too often", retryable=True),
}


class ServiceError(Exception):
    """A failure to report to the caller. `detail` is public: no file names, keys or raw exception texts.

    `param` names the request field at fault. `retryable`: whether the same request may succeed later; None: as the
    code says.
    """

    def __init__(self, code: str, detail: str, *, param: str | None = None, retryable: bool | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.param = param
        self.retryable = retryable
        PROBLEM_TYPES[code]  # An unlisted code is a bug at the raising line, not at the reporting one.


def problem(code: str, detail: str, *, param: str | None = None, retryable: bool | None = None) -> dict[str, Any]:
    """The members every problem has, at the top of a response and in `project.error` alike. retryable: as above."""
    kind = PROBLEM_TYPES[code]
    return {
        "type": f"/api/docs/errors#{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "code": code,
        "param": param,
        "retryable": kind.retryable if retryable is None else retryable,
        "billed": False,
    }
