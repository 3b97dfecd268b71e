"""The player of this desktop: the command that opens a video, and whether the demo may open it by itself."""

import contextlib
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path


def open_command(video: Path, platform: str) -> str:
    """For the terminal of this platform (`sys.platform`)."""
    if platform == "win32":
        return f'start "" "{video}"'  # The first argument of `start` is a title.
    return f"{'open' if platform == 'darwin' else 'xdg-open'} {shlex.quote(str(video))}"


def has_desktop(platform: str, environment: Mapping[str, str], *, is_terminal: bool) -> bool:
    """Whether somebody sits at this machine's own screen. Not over ssh, in CI, or where the output goes to a file."""
    if not is_terminal or any(environment.get(name) for name in ("CI", "SSH_CONNECTION")):
        return False
    return platform in ("darwin", "win32") or any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def open_video(command: str) -> None:
    """Start the player and leave it alone, whatever becomes of it: the video is there all the same."""
    with contextlib.suppress(OSError):
        subprocess.Popen(
            command,
            shell=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal ends the demo and not the player.
        )
