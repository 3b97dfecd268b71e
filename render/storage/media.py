"""Files in the media storages: source files under their content hash, segments and films under their attempt.

Two storages share the names. What begins with `work/` is for the nodes: normalised sources, segments, checkpoints. All
else is for people: films, posters, uploads. Names cannot be guessed and are never written twice with another content,
so a fenced-off worker can overwrite nothing.
"""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from django.core.files import File
from django.core.files.storage import Storage, storages

from render.fence import Claim
from render.models import Render
from render.storage import source_cache

WORK = "work/"
SOURCES = "sources"
STORED = "stored:"  # What a render's source begins with when it is no address: `stored:SHA256/KEY`.
THUMBNAIL_WIDTH = 320  # pixels


class DamagedObject(Exception):
    """The storage returned something else than was stored."""


class MissingObject(Exception):
    """The storage does not have it, or not any more."""


class _CountedFile(File):  # type: ignore[type-arg]
    """Tells how much of it was read: that is how far its upload is."""

    def __init__(self, file: object, tell_share: Callable[[float], None]) -> None:
        super().__init__(file)  # type: ignore[arg-type]
        self._tell_share = tell_share

    def read(self, num_bytes: int = -1) -> bytes:
        block: bytes = super().read(num_bytes)
        self._tell_share(self.tell() / max(self.size, 1))
        return block


def storage_of(key: str) -> Storage:
    return storages["work" if key.startswith(WORK) else "default"]


def link(key: str) -> str:
    """A signed link to an object, good for up to MEDIA_LINK_SECONDS; a path where this service serves it itself."""
    return storage_of(key).url(key)


def staff_link(key: str) -> str:
    """The same for support staff, who also look at what a suspended tenant has."""
    storage = storage_of(key)
    if hasattr(storage, "staff_url"):
        signed: str = storage.staff_url(key)
        return signed
    return link(key)


def thumbnail_link(key: str) -> str:
    """Of a picture: a small one where the storage makes such, else the picture itself."""
    storage = storage_of(key)
    if hasattr(storage, "thumbnail_url"):
        small: str = storage.thumbnail_url(key, width=THUMBNAIL_WIDTH)
        return small
    return link(key)


def folder_of(render: Render) -> str:
    """What all that a render stores begins with, in both storages."""
    return f"{render.tenant_id}/renders/{render.pk}"


def tenant_id_of(key: str) -> UUID | None:
    """Whose object it is; None for a name that is no tenant's."""
    try:
        return UUID(key.removeprefix(WORK).partition("/")[0])
    except ValueError:
        return None


def speech_folder_of(render: Render) -> str:
    """What its script has become is stored here; it may outlive the render."""
    return f"{render.tenant_id}/speech/{render.pk}"


def delete_folder(name: str) -> int:
    """Delete everything below it; return how many objects that were. Raises StorageFailure."""
    number: int = storage_of(name).delete_folder(name)  # type: ignore[attr-defined]
    return number


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def store_source(path: Path, render: Render, tell_share: Callable[[float], None] = lambda share: None) -> str:
    """Store a normalised source file, unless it is there already; return its key. tell_share: as of `store_film`."""
    return _store(path, f"{WORK}{folder_of(render)}/{SOURCES}/{sha256_of(path)}{path.suffix}", tell_share)


def store_speech(path: Path, render: Render, *, sha256: str) -> str:
    """Store what was spoken of a script, a WAV file that becomes the customer's; return its key. `path` stays."""
    key = f"{speech_folder_of(render)}/{sha256}.wav"
    _save(path, key)
    return key


def store_piece(path: Path, render: Render, claim: Claim) -> str:
    """Store a segment or a checkpoint that an attempt has made; return its key."""
    return _store(path, WORK + _name_of_attempt(path, render, claim))


def store_film(
    path: Path, render: Render, claim: Claim, tell_share: Callable[[float], None] = lambda share: None
) -> str:
    """Store a finished film or its poster; return its key. `tell_share` is called with 0 to 1."""
    return _store(path, _name_of_attempt(path, render, claim), tell_share)


def fetch(key: str, folder: Path) -> Path:
    """Bring an object to this machine, checked against the hash in its name. Raises as `download`."""
    destination = folder / Path(key).name
    if not destination.exists():
        if SOURCES in Path(key).parts:
            keep_source(key, link=destination)
        else:
            download(key, destination, sha256=Path(key).stem[-64:])
    return destination


def keep_source(key: str, *, link: Path | None = None) -> None:
    """Bring a source file to this machine, also to `link`, or ahead of its render. Raises as `download`."""
    source_cache.bring(Path(key).name, lambda path: download(key, path, sha256=Path(key).stem[-64:]), link=link)


def download(key: str, path: Path, *, sha256: str) -> None:
    """sha256: hex, of what it must be. Raises DamagedObject, MissingObject or StorageFailure."""
    if bring(key, path)[1] != sha256:
        path.unlink()
        raise DamagedObject(key)


def bring(key: str, path: Path) -> tuple[int, str]:
    """Copy an object to `path`; return its size and its SHA-256. Raises MissingObject or StorageFailure."""
    try:
        source = storage_of(key).open(key)
    except FileNotFoundError as error:
        raise MissingObject(key) from error
    with source, path.open("wb") as target:
        shutil.copyfileobj(source, target)
    return path.stat().st_size, sha256_of(path)


def size(key: str) -> int:
    """Bytes of an object. Raises MissingObject or StorageFailure."""
    try:
        number: int = storage_of(key).size(key)
    except FileNotFoundError as error:
        raise MissingObject(key) from error
    return number


def delete(key: str) -> None:
    """Delete an object, if it is there. Raises StorageFailure."""
    storage_of(key).delete(key)


def store_upload(path: Path, key: str) -> None:
    """Store a customer's file, as it was checked, under a name that nothing was stored under before."""
    with path.open("rb") as file:
        storage_of(key).save(key, File(file))


def _name_of_attempt(path: Path, render: Render, claim: Claim) -> str:
    name = f"{path.stem}-{sha256_of(path)}{path.suffix}"
    return f"{folder_of(render)}/a{claim.attempt}/{name}"


def _save(path: Path, key: str, tell_share: Callable[[float], None] = lambda share: None) -> None:
    storage = storage_of(key)
    if not storage.exists(key):
        with path.open("rb") as file:
            storage.save(key, _CountedFile(file, tell_share))


def _store(path: Path, key: str, tell_share: Callable[[float], None] = lambda share: None) -> str:
    _save(path, key, tell_share)
    # Under this name `fetch` finds the local copy.
    path.rename(path.with_name(Path(key).name))
    return key
