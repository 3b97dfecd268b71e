"""Runs every case through the first step of a render, in one process, as a worker that takes one after the other.

Prints a line of JSON for each: how it ended, and the most memory that this process has had so far, in bytes.
"""

import json
import logging
import os
import resource
import socket
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.conf import settings  # noqa: E402

from accounts.errors import ServiceError  # noqa: E402
from accounts.models import Plan, Tenant  # noqa: E402
from render.frame.shot import Source  # noqa: E402
from render.media.download import ssrf_guard  # noqa: E402
from render.media.download.fetch import FetchedFile, fetch  # noqa: E402
from render.media.download.retrying import FetchLimits  # noqa: E402
from render.models import Render  # noqa: E402
from render.pipeline import framed_source, preparation  # noqa: E402
from render.pipeline.preparation import prepare_sources  # noqa: E402
from tests import hostile_addresses  # noqa: E402
from tests.engines import InstantEngine  # noqa: E402
from tests.render.pipeline import hostile_server  # noqa: E402

NEVER_ENDING_SECONDS = 0.3
DOWNLOAD_SECONDS = 60  # of all that ends by itself, on a busy machine
BACKOFF_SECONDS = 0.001
MAX_BYTES = 16 * 2**20
MAX_AUDIO_SECONDS = 10


def main(base_url: str, cases: list[tuple[str, str]]) -> None:
    """base_url: of a `hostile_server`. cases: the parameter, and the path or address that it is given."""
    logging.disable()
    settings.DOWNLOAD_TIMEOUT_SECONDS = DOWNLOAD_SECONDS
    preparation.fetch = _fetch
    framed_source.find_faces = lambda path, **named: Source((64, 64))  # It reads only what was normalised.
    settings.MAX_IMAGE_BYTES = settings.MAX_AUDIO_BYTES = MAX_BYTES
    settings.ALLOW_PRIVATE_MEDIA_URLS = False
    _know_only_the_names_of_the_tests()
    tenant = Tenant(plan=Plan(max_audio_seconds=MAX_AUDIO_SECONDS))
    with tempfile.TemporaryDirectory() as media:
        settings.MEDIA_ROOT = media
        for param, where in cases:
            address = base_url + where if where.startswith("/") and not where.startswith("//") else where
            outcome = _outcome(tenant, param, address, base_url)
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            print(json.dumps({**outcome, "most_bytes": most}), flush=True)


def _outcome(tenant: Tenant, param: str, address: str, base_url: str) -> dict[str, Any]:
    good = {"image_url": f"{base_url}/files/good.png", "audio_url": f"{base_url}/files/good.wav"}
    render = Render(tenant=tenant, parameters={"seed": 1}, **{**good, param: address})
    with tempfile.TemporaryDirectory() as folder:
        try:
            prepare_sources(render, engine=InstantEngine(), folder=Path(folder), check=lambda: None)
        except ServiceError as error:
            return {"code": error.code, "param": error.param, "detail": error.detail}
        except BaseException as error:  # noqa: BLE001  # What it is told by: no case may end so.
            return {"code": f"crash: {error!r}", "param": param, "detail": ""}
    return {"code": "accepted", "param": param, "detail": ""}


def _fetch(url: str, *arguments: Any, limits: FetchLimits, **named: Any) -> FetchedFile:
    """Waits only where nothing else ends the download, and as briefly as one can tell it from a good one."""
    never_ends = url.rpartition("/")[2] in hostile_server.NEVER_ENDING
    seconds = NEVER_ENDING_SECONDS if never_ends else limits.total_seconds
    limits = replace(limits, total_seconds=seconds, backoff_seconds=BACKOFF_SECONDS)
    return fetch(url, *arguments, limits=limits, **named)


def _know_only_the_names_of_the_tests() -> None:
    real, is_public = socket.getaddrinfo, ssrf_guard.is_public
    names = {"media.example": [hostile_server.ADDRESS], **hostile_addresses.NAMES}

    def resolve(host: str, *arguments: Any, **named: Any) -> Any:
        if host in names:
            return [answer for address in names[host] for answer in real(address, *arguments, **named)]
        if host.endswith((".example", ".internal")):
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        return real(host, *arguments, **named)

    socket.getaddrinfo = resolve
    ssrf_guard.is_public = lambda address: address == hostile_server.ADDRESS or is_public(address)


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    main(asked["base_url"], asked["cases"])
