"""What the demo shows of its film at the end: path, speed, some frames, and the player of a desktop."""

import io
import os
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from django.core.management.base import OutputWrapper
from PIL import Image

from creatorify.demo import player
from creatorify.demo.contact_sheet import FRAME_WIDTH, FRAMES, GAP, write_contact_sheet
from creatorify.demo.customer import FinishedVideo
from creatorify.demo.demonstration import Demonstration, speed_of
from render.engines.base import FPS
from render.media.video.output_video import assemble_video
from render.media.video.segment_file import encode_segment
from tests.render.engines.conftest import write_voice

SECONDS = 4


def level(second: float) -> int:
    return round(20 + 200 * second / SECONDS)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> FinishedVideo:
    """Its grey tells the time."""
    folder = tmp_path_factory.mktemp("film")
    times = np.arange(SECONDS * FPS) / FPS
    frames = np.stack([np.full((48, 96, 3), level(time), np.uint8) for time in times])
    segments = []
    for start in (0, 50):
        segments.append(folder / f"{start}.ts")
        encode_segment(frames[start : start + 50], segments[-1], start_frame=start)
    voice = write_voice(folder / "voice.wav", np.zeros(SECONDS * 16_000))
    assemble_video(segments, [(voice, 0.0)], len(frames), folder / "a film.mp4")
    return FinishedVideo(folder / "a film.mp4", SECONDS, 1.96)


def test_a_contact_sheet_has_frames_of_the_whole_film_and_their_times(film, tmp_path):
    with Image.open(write_contact_sheet(film.path, tmp_path / "sheet.jpg")) as image:
        sheet = np.asarray(image.convert("L")).astype(int)
    height = FRAME_WIDTH // 2
    assert sheet.shape[1] == FRAMES * (FRAME_WIDTH + GAP) - GAP
    for number in range(FRAMES):
        left = number * (FRAME_WIDTH + GAP)
        cell, line = (rows[:, left : left + FRAME_WIDTH] for rows in (sheet[:height], sheet[height:]))
        assert cell.mean() == pytest.approx(level(SECONDS * (number + 0.5) / FRAMES), abs=5)
        assert np.ptp(line) > 150  # the time


def test_the_speed_is_told_as_it_was_measured(film):
    assert speed_of(film).startswith("4.0 s of video in 2.0 s, from the request to the finished video, on ")


@pytest.mark.parametrize(
    ("platform", "environment", "is_terminal", "expected"),
    [
        ("linux", {"DISPLAY": ":0"}, True, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True, True),
        ("darwin", {}, True, True),
        ("linux", {}, True, False),
        ("linux", {"DISPLAY": ""}, True, False),
        ("linux", {"DISPLAY": ":0"}, False, False),
        ("darwin", {}, False, False),
        ("darwin", {"CI": "true"}, True, False),
        ("linux", {"DISPLAY": ":10", "SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"}, True, False),
    ],
)
def test_only_a_desktop_opens_a_film(platform, environment, is_terminal, expected):
    assert player.has_desktop(platform, environment, is_terminal=is_terminal) is expected


@pytest.mark.parametrize(
    ("platform", "expected"),
    [
        ("linux", "xdg-open '/a film.mp4'"),
        ("darwin", "open '/a film.mp4'"),
        ("win32", 'start "" "/a film.mp4"'),
    ],
)
def test_the_command_can_be_pasted(platform, expected):
    assert player.open_command(Path("/a film.mp4"), platform) == expected


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A desktop whose player notes in this file what it was asked to open."""
    noted = tmp_path / "noted"
    program = tmp_path / player.open_command(Path("x"), sys.platform).split()[0]
    program.write_text(
        f'#!/bin/sh\nprintf %s "$1" > {shlex.quote(str(noted))}.part && mv {noted}.part {noted}\nexit 3\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("DISPLAY", ":0")
    for name in ("CI", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    return noted


def shown(film: FinishedVideo, output: io.StringIO) -> str:
    demo = Demonstration(OutputWrapper(output), OutputWrapper(output), portrait=None, speech=None, port=0, keep=False)
    demo._show(film)
    return output.getvalue()


def test_the_end_names_the_film_and_its_frames_and_opens_it_on_a_desktop(film, desktop):
    said = shown(film, Terminal())
    assert f"The video: {film.path}" in said
    assert speed_of(film) in said
    assert str(film.path.with_suffix(".jpg")) in said and film.path.with_suffix(".jpg").stat().st_size > 1000
    assert player.open_command(film.path, sys.platform) in said
    deadline = time.monotonic() + 20
    while not desktop.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert desktop.read_text() == str(film.path)


def test_no_player_is_no_error(film, desktop, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert "The video: " in shown(film, Terminal())
