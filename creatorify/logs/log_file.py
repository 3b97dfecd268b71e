"""The end of a process's log, to be shown to whoever started it."""

from pathlib import Path

SHOWN_LINES, SHOWN_BYTES = 20, 16_384
OWN_LINES = "supervisor:"  # What the supervisor's lines in a process's log begin with.


def end_of(log: Path) -> str:
    """The last lines of a log, indented; what the supervisor itself has written there is left out."""
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - SHOWN_BYTES, 0))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError as error:
        return f"    (it cannot be read: {error.strerror})"
    lines = [line for line in lines if line.strip() and not line.startswith(OWN_LINES)]
    return "\n".join(f"    {line}" for line in lines[-SHOWN_LINES:]) or "    (nothing)"
