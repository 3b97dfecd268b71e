"""A film is watched in a real browser, from a page of another origin, while the real service still renders it."""

import shutil
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page

from tests.engines import let_go_on
from tests.service.browser.conftest import CHROMIUM
from tests.service.conftest import ended

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (Debian: apt-get install chromium)"),
    pytest.mark.timeout(300),
]
PATIENCE_MILLISECONDS = 90_000
HELD_AT = 2  # segments of four


@pytest.fixture
def player_url(site) -> str:
    base_url, folder = site
    for name in ("player.html", "hls.light.min.js"):
        shutil.copy(Path(__file__).with_name(name), folder)
    return f"{base_url}/player.html"


def wait_until(page: Page, condition: str) -> None:
    page.wait_for_function(f"faults.length || ({condition})", timeout=PATIENCE_MILLISECONDS)
    assert page.evaluate("faults") == []


def test_a_film_is_watched_while_it_renders(
    service, client, post, wait_for, player_url: str, page: Page, tmp_path: Path
) -> None:
    go_on = tmp_path / "go-on"
    let_go_on(go_on, HELD_AT)
    project_id = post("held", prompt=str(go_on))
    assert wait_for(project_id, lambda status: status["segment"] == HELD_AT)["preview_url"]
    preview_url = client.get(f"/projects/{project_id}").json()["preview_url"]

    page.goto(f"{player_url}?{urlencode({'url': preview_url})}")
    wait_until(page, "video.currentTime > 1")

    status = client.get(f"/projects/{project_id}/status").json()
    assert (status["status"], status["segment"], status["video_url"]) == ("processing", HELD_AT, None)
    assert page.evaluate("[video.videoWidth, video.videoHeight]") == [64, 48]
    assert page.evaluate("video.getVideoPlaybackQuality().totalVideoFrames") > 10
    assert page.evaluate("video.webkitAudioDecodedByteCount") > 0

    page.evaluate("video.playbackRate = 4")
    let_go_on(go_on)
    status = wait_for(project_id, ended)
    wait_until(page, "video.ended")

    seconds = client.get(f"/projects/{project_id}").json()["duration_seconds"]
    assert status["status"] == "finished"
    assert page.evaluate("video.duration") == pytest.approx(seconds, abs=0.05)
    # One stretch: the pieces were joined without a gap that has to be jumped.
    assert page.evaluate("[video.buffered.length, video.buffered.start(0)]") == [1, 0]


def test_a_finished_film_plays_without_a_script_where_the_browser_knows_hls(
    service, client, post, wait_for, player_url: str, page: Page
) -> None:
    project_id = post("instant")
    preview_url = wait_for(project_id, ended)["preview_url"]

    page.goto(f"{player_url}?{urlencode({'url': preview_url, 'native': 1})}")
    if not page.evaluate("video.canPlayType('application/vnd.apple.mpegurl')"):
        pytest.skip("this browser plays HLS with a script only")
    wait_until(page, "video.currentTime > 1")

    seconds = client.get(f"/projects/{project_id}").json()["duration_seconds"]
    assert page.evaluate("video.duration") == pytest.approx(seconds, abs=0.05)
    assert page.evaluate("video.webkitAudioDecodedByteCount") > 0
