"""How a render of a test key is to end: an integrator sees every failure in seconds, without causing it."""

from accounts.errors import ServiceError
from render.models import Render

# Name -> code. The first group ends before anything is rendered, the second after the first segment.
OF_SOURCES = {
    name: name
    for name in ("download_failed", "download_timeout", "media_too_large", "image_invalid", "audio_invalid", "no_face")
}
OF_RENDERING = {
    "timeout": "render_timeout",
    **{name: name for name in ("gpu_out_of_memory", "worker_lost", "upload_failed", "internal")},
}
NAMES = [*OF_SOURCES, *OF_RENDERING]


def act_before_rendering(render: Render) -> None:
    """Raises ServiceError if the scenario says so."""
    _fail(OF_SOURCES, render)


def act_while_rendering(render: Render) -> None:
    """Raises ServiceError if the scenario says so."""
    _fail(OF_RENDERING, render)


def _fail(codes: dict[str, str], render: Render) -> None:
    if render.test_scenario in codes:
        raise ServiceError(codes[render.test_scenario], "It fails because test_scenario asks for it.")
