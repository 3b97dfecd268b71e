"""What a customer is told of a bad source, in the whole way, and no bill: an example of each step that can refuse one.

Every kind of bad source has its code in test_hostile_sources.py.
"""

import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from PIL import Image
from skimage import data

from accounts.models import UsageEntry
from render.media.download import ssrf_guard
from render.models import State
from render.pipeline import runner
from render.pipeline.preparation import prepare_sources
from tests.engines import InstantEngine
from tests.render.conftest import write_voice

pytestmark = pytest.mark.django_db

OWN_ADDRESS = "127.0.0.1"


@pytest.fixture(scope="module")
def bad_site(tmp_path_factory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("bad")
    Image.fromarray(data.astronaut()).save(folder / "face.png")
    Image.fromarray(data.chelsea()).save(folder / "cat.png")
    files = {
        "/face.png": (folder / "face.png").read_bytes(),
        "/cat.png": (folder / "cat.png").read_bytes(),
        "/voice.wav": write_voice(folder / "voice.wav", 2).read_bytes(),
        "/short.wav": write_voice(folder / "short.wav", 0.1).read_bytes(),
        "/damaged.wav": (folder / "voice.wav").read_bytes()[:-640],  # of 2 s at 16 kHz, 20 ms were cut off
        "/long.wav": write_voice(folder / "long.wav", 12).read_bytes(),
        "/page.html": b"<html><body>No picture here</body></html>",
        "/huge.png": bytes(3 * 2**20),
    }
    redirects = {"/to-private": "http://10.0.0.1/face.png"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path in redirects:
                self.send_response(302)
                self.send_header("Location", redirects[self.path])
                self.end_headers()
            elif self.path == "/slow.png":
                self.send_response(200)
                self.end_headers()
                time.sleep(3)
            elif self.path in files:
                self.send_response(200)
                self.send_header("Content-Length", str(len(files[self.path])))
                self.end_headers()
                self.wfile.write(files[self.path])
            else:
                self.send_error(404)

        def log_message(self, *arguments) -> None:
            pass

    with ThreadingHTTPServer((OWN_ADDRESS, 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://{OWN_ADDRESS}:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("param", "address", "code"),
    [
        ("image_url", "/page.html", "image_invalid"),
        ("image_url", "/cat.png", "no_face"),
        ("image_url", "/missing.png", "download_failed"),
        ("image_url", "/huge.png", "media_too_large"),
        ("image_url", "/slow.png", "download_timeout"),
        ("image_url", "/to-private", "redirect_not_allowed"),
        ("image_url", "http://169.254.169.254/latest/meta-data/", "url_not_allowed"),
        ("audio_url", "/page.html", "audio_invalid"),
        ("audio_url", "/short.wav", "audio_too_short"),
        ("audio_url", "/long.wav", "audio_too_long"),
    ],
)
def test_each_bad_source_has_its_code_and_costs_nothing(
    enqueue, claim, acme, settings, monkeypatch, bad_site, param: str, address: str, code: str
) -> None:
    settings.ALLOW_PRIVATE_MEDIA_URLS = False
    settings.MAX_IMAGE_BYTES = 2 * 2**20
    if code == "download_timeout":
        settings.DOWNLOAD_TIMEOUT_SECONDS = 1
    acme.plan.max_audio_seconds = 10
    acme.plan.save(update_fields=["max_audio_seconds"])
    original = ssrf_guard.is_public
    monkeypatch.setattr(ssrf_guard, "is_public", lambda found: found == OWN_ADDRESS or original(found))
    good = {"image_url": f"{bad_site}/face.png", "audio_url": f"{bad_site}/voice.wav"}
    render = enqueue(engine="draft", **{**good, param: address if "://" in address else bad_site + address})

    runner.run(claim())

    render.refresh_from_db()
    assert (render.state, render.error_code, render.error_param) == (State.FAILED, code, param), render.error_trace
    assert render.error_message
    if address.startswith("/missing"):
        assert render.error_retryable is False
    assert render.attempt == 1
    assert UsageEntry.objects.get(render_id=render.pk).billed_seconds == 0


def test_what_is_a_little_damaged_is_prepared_with_a_warning(
    enqueue, settings, monkeypatch, bad_site, tmp_path: Path
) -> None:
    render = enqueue(
        image_url=f"{bad_site}/face.png", audio_url=f"{bad_site}/damaged.wav", audio_url_2=f"{bad_site}/voice.wav"
    )

    prepared = prepare_sources(render, engine=InstantEngine(), folder=tmp_path, check=lambda: None)

    assert len(prepared.sources["voices"]) == 2
    (warning,) = [warning for warning in prepared.warnings if warning["param"] != "image_url"]
    assert (warning["param"], warning["code"]) == ("audio_url", "damaged")
    assert "0.02 s of it could not be read" in warning["detail"]
