"""All errors that a customer can see: a stable code each, with its HTTP status and title (RFC 9457 problem details).

They are in the lowest package so that every package raises the same ServiceError. `creatorify.api.errors` turns it into
a response; codes must never change.
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
    "storage_quota_exceeded": ProblemType(402, "Storage quota exceeded"),
    "insufficient_scope": ProblemType(403, "API key lacks a scope"),
    "exceeds_own_key": ProblemType(403, "Exceeds the rights of the API key in the request"),
    "ip_not_allowed": ProblemType(403, "API key not allowed from this address"),
    "tenant_suspended": ProblemType(403, "Tenant suspended"),
    "not_found": ProblemType(404, "Not found"),
    "method_not_allowed": ProblemType(405, "Method not allowed"),
    "not_acceptable": ProblemType(406, "Not acceptable"),
    "asset_not_ready": ProblemType(409, "Asset not ready", retryable=True),
    "invalid_state": ProblemType(409, "Not possible in this state"),
    "too_many_takes": ProblemType(409, "Too many takes of a project"),
    "idempotency_in_progress": ProblemType(409, "The first request is still in progress", retryable=True),
    "upload_expired": ProblemType(410, "Upload expired"),
    "request_timeout": ProblemType(408, "Request body too slow", retryable=True),
    "payload_too_large": ProblemType(413, "Payload too large"),
    "unsupported_media_type": ProblemType(415, "Unsupported media type"),
    "invalid": ProblemType(422, "Invalid input"),
    "idempotency_key_reused": ProblemType(422, "Idempotency-Key used for another request"),
    "price_missing": ProblemType(422, "No price for this render"),
    "engine_unavailable": ProblemType(422, "Engine not available here"),
    "asset_not_found": ProblemType(422, "No such asset"),
    "asset_unusable": ProblemType(422, "Asset not usable"),
    "size_mismatch": ProblemType(422, "Size differs from the announced size"),
    "hash_mismatch": ProblemType(422, "SHA-256 differs from the announced one"),
    "upload_missing": ProblemType(422, "Uploaded file not found"),
    "media_invalid": ProblemType(422, "Not an image, video or audio file"),
    # A source file, or its URL.
    "url_not_allowed": ProblemType(422, "Address not allowed"),
    "redirect_not_allowed": ProblemType(422, "Redirect to an address that is not allowed"),
    "download_failed": ProblemType(422, "Download failed", retryable=True),
    "download_timeout": ProblemType(422, "Download too slow", retryable=True),
    "media_too_large": ProblemType(422, "File too large"),
    "media_too_complex": ProblemType(422, "File too expensive to decode"),
    "image_invalid": ProblemType(422, "Not a readable image"),
    "image_too_large": ProblemType(422, "Image has too many pixels"),
    "image_too_small": ProblemType(422, "Image has too few pixels"),
    "video_invalid": ProblemType(422, "Not a readable video"),
    "audio_invalid": ProblemType(422, "Not a readable audio file"),
    "audio_empty": ProblemType(422, "Voice recording is empty"),
    "audio_too_short": ProblemType(422, "Voice recording too short"),
    "audio_too_long": ProblemType(422, "Voice recording too long"),
    "script_unspeakable": ProblemType(422, "Script cannot be spoken"),
    "no_face": ProblemType(422, "No face found"),
    "no_face_in_box": ProblemType(422, "No face in this part of the image"),
    "face_cropped": ProblemType(422, "Face cut off by the edge of the image"),
    "speakers_overlap": ProblemType(422, "Two speakers have the same face"),
    "background_unavailable": ProblemType(422, "Background not available here"),
    "video_too_long": ProblemType(422, "Video too long"),
    "queue_full": ProblemType(429, "Too many renders waiting", retryable=True),
    "too_many_streams": ProblemType(429, "Too many open streams", retryable=True),
    "too_many_uploads": ProblemType(429, "Too many uploads announced", retryable=True),
    "too_many_changes": ProblemType(429, "Too many API key changes", retryable=True),
    "too_many_idempotency_keys": ProblemType(429, "Too many Idempotency-Keys", retryable=True),
    "rate_limited": ProblemType(429, "Too many requests", retryable=True),
    "unavailable": ProblemType(503, "Temporarily unavailable", retryable=True),
    "internal": ProblemType(500, "Internal error", retryable=True),
    # Of a render that had started: in `project.error`, never the response to a request.
    "canceled": ProblemType(409, "Canceled"),
    "deadline_exceeded": ProblemType(504, "Deadline exceeded", retryable=True),
    "gpu_out_of_memory": ProblemType(500, "Out of GPU memory", retryable=True),
    "model_file_missing": ProblemType(500, "Model files missing or damaged"),
    "render_timeout": ProblemType(500, "Render made no progress", retryable=True),
    "speech_failed": ProblemType(500, "Speech engine not available", retryable=True),
    "upload_failed": ProblemType(500, "Upload of the result failed", retryable=True),
    "work_lost": ProblemType(500, "Intermediate files of the render lost"),
    "worker_lost": ProblemType(500, "Worker lost too often", retryable=True),
}


class ServiceError(Exception):
    """An error that the customer sees.

    code: of PROBLEM_TYPES. detail: one sentence or two, without file names, keys or texts of exceptions. param: the
    request field at fault. retryable: whether the same request may succeed later; None: what PROBLEM_TYPES says.
    """

    def __init__(self, code: str, detail: str, *, param: str | None = None, retryable: bool | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.param = param
        self.retryable = retryable
        PROBLEM_TYPES[code]  # Raises KeyError for an unknown code here, where the mistake is, not in the response.


def problem(code: str, detail: str, *, param: str | None = None, retryable: bool | None = None) -> dict[str, Any]:
    """Return the members of a problem, the same in a response and in `project.error`. Arguments: see ServiceError."""
    problem_type = PROBLEM_TYPES[code]
    return {
        "type": f"/api/docs/errors#{code}",
        "title": problem_type.title,
        "status": problem_type.status,
        "detail": detail,
        "code": code,
        "param": param,
        "retryable": problem_type.retryable if retryable is None else retryable,
        "billed": False,
    }
