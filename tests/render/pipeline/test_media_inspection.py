"""An upload is refused when a render would refuse it as damaged, and taken when a render would warn."""

from pathlib import Path

import pytest

from accounts.errors import ServiceError
from render.pipeline.media_inspection import inspect
from tests.render.media_makers import film, wav

FILM = film("mp4", "libx264", frames=100, movflags="faststart")
VOICE = wav(2)


def inspected(content: bytes, folder: Path) -> str:
    (folder / "file").write_bytes(content)
    kind, _ = inspect(folder / "file", folder, max_audio_seconds=60, check=lambda: None)
    return kind


@pytest.mark.parametrize(("content", "kind"), [(FILM, "video"), (VOICE, "audio"), (VOICE[:-640], "audio")])
def test_it_takes_what_can_be_rendered(content: bytes, kind: str, tmp_path: Path) -> None:
    assert inspected(content, tmp_path) == kind


@pytest.mark.parametrize(
    ("content", "code"),
    [(VOICE[: len(VOICE) // 2], "audio_invalid"), (film("matroska", "libx264")[:1800], "video_invalid")],
)
def test_it_refuses_what_was_cut_off(content: bytes, code: str, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="s can be read") as caught:
        inspected(content, tmp_path)

    assert (caught.value.code, caught.value.param) == (code, "file")
