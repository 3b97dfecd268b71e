"""How an attempt ends that was broken off by an error: for each error what happens to the render."""

import logging
import traceback
from collections.abc import Callable

from accounts.errors import ServiceError
from render.cluster.db_retry import retry_through_outage
from render.fence import CancelRequested, Claim, Fenced
from render.lifecycle import retries, transitions
from render.lifecycle.lease import Draining
from render.lifecycle.planned_segments import WrongSegments
from render.node_faults import NodeFault
from render.speech.base import SpeechUnavailable
from render.storage.failures import StorageFailure
from render.storage.media import DamagedObject, MissingObject

logger = logging.getLogger(__name__)


def record_end(claim: Claim, error: Exception) -> None:
    """Record the end of the attempt, also through an outage of the database; nothing if it has ended already."""
    try:
        if isinstance(error, Fenced):
            raise error
        retry_through_outage(_end_for(claim, error))
    except Fenced:
        logger.info("Render %s attempt %d was ended by another process", claim.render_id, claim.attempt)


def _end_for(claim: Claim, error: Exception) -> Callable[[], None]:
    """Log the error and return the step that records the end."""
    trace = "".join(traceback.format_exception(error))
    match error:
        case CancelRequested():
            return lambda: transitions.cancel(claim)
        case Draining():
            return lambda: transitions.hand_back(claim)
        case NodeFault() as fault:
            logger.warning("Render %s is handed back: %s", claim.render_id, fault)
            return lambda: transitions.hand_back_for_fault(claim, str(fault), trace=trace, variant=fault.variant)
        case ServiceError() as refusal:
            logger.info("Render %s failed: %s", claim.render_id, refusal.code)
            return lambda: transitions.fail(claim, refusal, trace=trace)
        case StorageFailure() as failure:
            logger.warning("Render %s: %s", claim.render_id, failure)
            return _end_for_storage(claim, failure, trace)
        case MissingObject() | DamagedObject():
            logger.warning("Render %s: the storage has lost or damaged %s", claim.render_id, error)
            lost = ServiceError("work_lost", "Files of the render were lost, and again when it was begun anew.")
            return lambda: retries.retry_later(claim, lost, trace=trace, anew=True)
        case SpeechUnavailable():
            logger.warning("Render %s: speech: %s", claim.render_id, error)
            no_speech = ServiceError("speech_failed", "The speech engine does not answer.", param="script")
            return lambda: retries.retry_later(claim, no_speech, trace=trace)
        case WrongSegments() as wrong:
            logger.error("%s", wrong)
            return lambda: retries.render_again(claim, wrong, trace=trace)
        case _:  # It may pass: the network was away, or it is a bug. The render is never lost.
            logger.error("Render %s attempt %d failed", claim.render_id, claim.attempt, exc_info=error)
            internal = ServiceError("internal", "The render failed because of an internal error.")
            return lambda: retries.retry_later(claim, internal, trace=trace)


def _end_for_storage(claim: Claim, failure: StorageFailure, trace: str) -> Callable[[], None]:
    """A later attempt resumes from what is stored, so nothing is rendered twice because of the storage."""
    detail = f"The media storage did not take or give a file (reason: {failure.reason.value})."
    error = ServiceError("upload_failed", detail)
    if failure.reason.passes_later:
        return lambda: retries.retry_later(claim, error, trace=trace, of_storage=True)
    return lambda: transitions.fail(claim, error, trace=trace)
