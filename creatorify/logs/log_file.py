"""The end of a process's log, for the message that says why the process failed."""

from pathlib import Path

SHOWN_LINES, SHOWN_BYTES = 20, 16_384
OWN_LINES = "supervisor:"  # the beginning of lines that the supervisor writes into a process's log


def end_of(log: Path) -> str:
    """The last lines of a log, indented, without those of the supervisor."""
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - SHOWN_BYTES, 0))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError as error:
        return f"    (it cannot be read: {error.strerror})"
    lines = [line for line in lines if line.strip() and not line.startswith(OWN_LINES)]
    return "\n".join(f"    {line}" for line in lines[-SHOWN_LINES:]) or "    (nothing)"
