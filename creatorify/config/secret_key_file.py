"""Random secrets in files: the SECRET_KEY of an installation that sets none, and the demo's password."""

import contextlib
import os
import secrets
from pathlib import Path


def read_or_create(path: Path) -> str:
    """Return the secret in the file `path`; create it if it does not exist. The file is for its owner only.

    Processes that create it at the same time all return the same secret.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(48))
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)  # fails if another process was first
        draft.unlink()
    return path.read_text()
