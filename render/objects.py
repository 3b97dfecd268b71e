"""Files in the media storage: source files under their content hash, segments and films under their attempt.

Names cannot be guessed and are never written twice with another content, so a fenced-off worker can overwrite nothing.
"""

import contextlib
import hashlib
import os
import shutil
import uuid
from pathlib import Path

from django.core.files import File
from django.core.files.storage import default_storage

from render import source_cache
from render.fence import Claim

SOURCES = "sources/"


class DamagedObject(Exception):
    """The storage returned something else than was stored."""


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def store_source(path: Path, tenant_id: uuid.UUID) -> str:
    """Store a normalised source file of a tenant, unless it is there already; return its key."""
    return _store(path, f"{SOURCES}{tenant_id}/{sha256_of(path)}{path.suffix}")


def store_of_attempt(path: Path, claim: Claim) -> str:
    """Store what an attempt has made; return its key."""
    return _store(path, f"renders/{claim.render_id}/a{claim.attempt}/{path.stem}-{sha256_of(path)}{path.suffix}")


def fetch(key: str, folder: Path) -> Path:
    """Bring an object to this machine, checked against the hash in its name. Raises DamagedObject."""
    destination = folder / Path(key).name
    while not destination.exists():
        if not key.startswith(SOURCES):
            _download(key, destination)
        else:
            with contextlib.suppress(FileNotFoundError):  # Another process may just have trimmed it.
                os.link(keep_source(key), destination)
    return destination


def keep_source(key: str) -> Path:
    """Bring a source file to this machine ahead of its render. Raises DamagedObject."""
    return source_cache.bring(Path(key).name, lambda path: _download(key, path))


def _download(key: str, path: Path) -> None:
    with default_storage.open(key) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target)
    if sha256_of(path) != Path(key).stem[-64:]:
        path.unlink()
        raise DamagedObject(key)


def _store(path: Path, key: str) -> str:
    if not default_storage.exists(key):
        with path.open("rb") as file:
            default_storage.save(key, File(file))
    # Under this name `fetch` finds the local copy.
    path.rename(path.with_name(Path(key).name))
    return key
