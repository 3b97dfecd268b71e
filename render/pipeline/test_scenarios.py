"""How a render of a test key is to fail: so an integrator can see every failure in seconds, without causing it."""

from accounts.errors import ServiceError
from render.models import Render

# Name of the scenario -> code of the error.
BEFORE_RENDERING = {
    "download_failed": "download_failed",
    "download_timeout": "download_timeout",
    "media_too_large": "media_too_large",
    "image_invalid": "image_invalid",
    "audio_invalid": "audio_invalid",
    "no_face": "no_face",
}
AFTER_FIRST_SEGMENT = {
    "timeout": "render_timeout",
    "gpu_out_of_memory": "gpu_out_of_memory",
    "worker_lost": "worker_lost",
    "upload_failed": "upload_failed",
    "internal": "internal",
}
NAMES = [*BEFORE_RENDERING, *AFTER_FIRST_SEGMENT]


def fail_before_rendering(render: Render) -> None:
    """Raise ServiceError if the render's scenario fails before anything is rendered."""
    _fail(BEFORE_RENDERING, render)


def fail_while_rendering(render: Render) -> None:
    """Raise ServiceError if the render's scenario fails after the first segment."""
    _fail(AFTER_FIRST_SEGMENT, render)


def _fail(codes: dict[str, str], render: Render) -> None:
    if render.test_scenario in codes:
        raise ServiceError(codes[render.test_scenario], "It fails because test_scenario asks for it.")
