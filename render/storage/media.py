"""Files in the media storages: how they are named, stored, fetched and linked.

Two storages share one name space. Names that begin with `work/` are for the nodes: normalised sources, segments,
checkpoints. All others are for people: videos, posters, uploads. A name contains the hash of the content or a random
number, so it cannot be guessed and is never written twice with different content: a worker that has lost its render can
overwrite nothing.
"""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import cast
from uuid import UUID

from django.core.files import File
from django.core.files.storage import storages

from render.fence import Claim
from render.models import Render
from render.storage import source_cache
from render.storage.backends.base import MediaStorage

WORK = "work/"
SOURCES = "sources"
STORED = "stored:"  # The beginning of a render's source that is an uploaded file: `stored:SHA256/KEY`.
THUMBNAIL_WIDTH = 320  # pixels
SHA256_DIGITS = 64


class DamagedObject(Exception):
    """The storage returned other content than was stored."""


class MissingObject(Exception):
    """The storage does not have the file."""


class _CountedFile(File):  # type: ignore[type-arg]
    """A file that reports which share of it was read: that is how far its upload is."""

    def __init__(self, file: object, report_share: Callable[[float], None]) -> None:
        super().__init__(file)  # type: ignore[arg-type]
        self._report_share = report_share

    def read(self, num_bytes: int = -1) -> bytes:
        block: bytes = super().read(num_bytes)
        self._report_share(self.tell() / max(self.size, 1))
        return block


def storage_of(key: str) -> MediaStorage:
    return cast(MediaStorage, storages["work" if key.startswith(WORK) else "default"])


def every_storage() -> list[MediaStorage]:
    """Both storages, which may be one and the same place."""
    return [cast(MediaStorage, storages[alias]) for alias in ("default", "work")]


def link(key: str) -> str:
    """A signed link to a file, valid for up to MEDIA_LINK_SECONDS; a path where this service serves the file itself."""
    return storage_of(key).url(key)


def staff_link(key: str) -> str:
    """The same for support staff; it works for the files of suspended tenants, too."""
    return storage_of(key).staff_url(key)


def thumbnail_link(key: str) -> str:
    """A link to a small copy of an image where the storage makes one, else to the image itself."""
    return storage_of(key).thumbnail_url(key, width=THUMBNAIL_WIDTH)


def folder_of(render: Render) -> str:
    """The folder of a render's files; below `work/` it has a second one of the same name."""
    return f"{render.tenant_id}/renders/{render.pk}"


def speech_folder_of(render: Render) -> str:
    """The folder of a render's spoken script, which may outlive the render."""
    return f"{render.tenant_id}/speech/{render.pk}"


def tenant_id_of(key: str) -> UUID | None:
    """The tenant whose file this is; None for a name that is no tenant's."""
    try:
        return UUID(key.removeprefix(WORK).partition("/")[0])
    except ValueError:
        return None


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def store_source(path: Path, render: Render, report_share: Callable[[float], None] = lambda share: None) -> str:
    """Store a normalised source file, unless it is stored already; return its key. report_share: see `store_video`."""
    key = f"{WORK}{folder_of(render)}/{SOURCES}/{sha256_of(path)}{path.suffix}"
    _save(path, key, report_share)
    return key


def store_speech(path: Path, render: Render, *, sha256: str) -> str:
    """Store a spoken script, a WAV file that becomes the customer's; return its key."""
    key = f"{speech_folder_of(render)}/{sha256}.wav"
    _save(path, key)
    return key


def store_segment(path: Path, render: Render, claim: Claim) -> str:
    """Store a segment or a checkpoint of an attempt; return its key."""
    key = WORK + _key_of_attempt(path, render, claim)
    _save(path, key)
    return key


def store_video(
    path: Path, render: Render, claim: Claim, report_share: Callable[[float], None] = lambda share: None
) -> str:
    """Store a finished video or its poster; return its key. report_share: called with 0 to 1 while the file is read."""
    key = _key_of_attempt(path, render, claim)
    _save(path, key, report_share)
    return key


def store_upload(path: Path, key: str) -> None:
    """Store a customer's file, after its check, under a name that has not been used before."""
    with path.open("rb") as file:
        storage_of(key).save(key, File(file))


def local_path(key: str, folder: Path) -> Path:
    """Where `fetch` puts a file; one that is there already is not downloaded."""
    return folder / Path(key).name


def fetch(key: str, folder: Path) -> Path:
    """Download a file to `folder`, checked against the hash in its name. Raises as `download_verified`."""
    path = local_path(key, folder)
    if not path.exists():
        if SOURCES in Path(key).parts:
            cache_source(key, link=path)
        else:
            download_verified(key, path, sha256=_sha256_in(key))
    return path


def cache_source(key: str, *, link: Path | None = None) -> None:
    """Have a source file in this machine's cache, and under the name `link`, too. Raises as `download_verified`."""
    source_cache.provide(
        Path(key).name, download=lambda path: download_verified(key, path, sha256=_sha256_in(key)), link=link
    )


def download_verified(key: str, path: Path, *, sha256: str) -> None:
    """sha256: hex, which the content must have. Raises DamagedObject, MissingObject or StorageFailure."""
    _, actual = download(key, path)
    if actual != sha256:
        path.unlink()
        raise DamagedObject(key)


def download(key: str, path: Path) -> tuple[int, str]:
    """Copy a stored file to `path`; return its size in bytes and its SHA-256 in hex. Raises MissingObject or
    StorageFailure.
    """
    try:
        source = storage_of(key).open(key)
    except FileNotFoundError as error:
        raise MissingObject(key) from error
    with source, path.open("wb") as target:
        shutil.copyfileobj(source, target)
    return path.stat().st_size, sha256_of(path)


def size(key: str) -> int:
    """In bytes. Raises MissingObject or StorageFailure."""
    try:
        return storage_of(key).size(key)
    except FileNotFoundError as error:
        raise MissingObject(key) from error


def delete(key: str) -> None:
    """Delete a file, if it is there. Raises StorageFailure."""
    storage_of(key).delete(key)


def delete_folder(name: str) -> int:
    """Delete every file below a folder; return how many there were. Raises StorageFailure."""
    return storage_of(name).delete_folder(name)


def _key_of_attempt(path: Path, render: Render, claim: Claim) -> str:
    name = f"{path.stem}-{sha256_of(path)}{path.suffix}"
    return f"{folder_of(render)}/a{claim.attempt}/{name}"


def _sha256_in(key: str) -> str:
    return Path(key).stem[-SHA256_DIGITS:]


def _save(path: Path, key: str, report_share: Callable[[float], None] = lambda share: None) -> None:
    storage = storage_of(key)
    if not storage.exists(key):
        with path.open("rb") as file:
            storage.save(key, _CountedFile(file, report_share))
