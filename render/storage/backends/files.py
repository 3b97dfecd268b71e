"""Media as files of this machine, which the service serves itself to signed links that expire."""

import contextlib
import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

from django.core import signing
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage
from django.urls import reverse

from render.storage import incomplete_files
from render.storage.errors import Reason, StorageFailure
from render.storage.links import DirectUpload, link_expiry
from render.storage.private_folder import private_folder

_links = signing.Signer(salt="render.storages.files.link")
_staff_links = signing.Signer(salt="render.storages.files.staff_link")
STAFF_LINK_SECONDS = 3600  # As long as the longest film: whoever watches it asks for parts of it until its end.
_UPLOAD_SALT = "render.storages.files.upload.2"
INCOMING = (
    "incoming"  # The folder of what customers send, until it is checked, and of what is stored, until it is whole.
)
UPLOAD_VIEW = "upload-content"  # The name of the route that takes a direct upload.


class UploadToken(NamedTuple):
    name: str  # as given to `direct_upload`
    num_bytes: int
    sha256: str  # in hex; empty if it was not announced


class IncomingFile:
    """A new file of the storage, written piece by piece under a name that nobody else has. Raises StorageFailure.

    Until `release`, which must be called, nobody takes it for one whose writer was killed.
    """

    def __init__(self, storage: "SignedFileStorage") -> None:
        self.name = _new_incoming()
        self._path = Path(storage.path(self.name))
        self._descriptor: int | None = None

    def write(self, block: bytes) -> None:
        with _failures():
            if self._descriptor is None:
                private_folder(self._path.parent)
                self._descriptor = incomplete_files.create(self._path)
            remaining = memoryview(block)
            while remaining:  # A write may take less than it is given.
                remaining = remaining[os.write(self._descriptor, remaining) :]

    def flush(self) -> None:
        """All is written. Raises StorageFailure if it was not: some network file systems tell that only at a close."""
        if self._descriptor is not None:
            with _failures():
                os.close(os.dup(self._descriptor))

    def delete(self) -> None:
        with _failures():
            self._path.unlink(missing_ok=True)

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):  # What it may tell now was told by `flush`.
                os.close(descriptor)


class SignedFileStorage(FileSystemStorage):
    """Files that are either whole or not there: a killed writer leaves no torn file under a name that others trust.

    What it does leave lies where `abandoned` finds it.
    """

    def _save(self, name: str, content: File) -> str:  # type: ignore[type-arg]
        final = Path(self.path(name))
        partial = _new_incoming()
        with _failures():
            try:
                super()._save(partial, content)  # type: ignore[misc]  # It locks the file while it writes.
                private_folder(final.parent)
                os.replace(self.path(partial), final)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.path(partial))
                raise
        return name

    def _open(self, name: str, mode: str = "rb") -> File:  # type: ignore[type-arg]
        try:
            file: File = super()._open(name, mode)  # type: ignore[misc,type-arg]
            return file
        except PermissionError as error:
            raise StorageFailure(Reason.CREDENTIALS, str(error)) from error

    def delete(self, name: str) -> None:
        with _failures():
            super().delete(name)

    def delete_folder(self, name: str) -> int:
        """Everything below it; returns how many objects that were."""
        folder = Path(self.path(name))
        number = sum(len(files) for _, _, files in os.walk(folder))
        with _failures(), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)
        return number

    def abandoned(self, *, seconds: float) -> Iterator[str]:
        """Names of what was sent here, or was being stored, that nobody writes, and nobody has for so long."""
        folder = Path(self.path(INCOMING))
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    is_old = entry.stat().st_mtime < time.time() - seconds
                    if is_old and not incomplete_files.is_being_written(Path(entry.path)):
                        yield f"{INCOMING}/{entry.name}"

    def url(self, name: str | None) -> str:
        """A path of this site; only with its query the file is served."""
        expires = link_expiry()
        query = {"expires": expires, "signature": _links.signature(f"{name}:{expires}")}
        return f"{super().url(name)}?{urlencode(query)}"

    def staff_url(self, name: str) -> str:
        """The same for support staff: it ends sooner, but also opens what a suspended tenant has."""
        expires = int(time.time()) + STAFF_LINK_SECONDS
        query = {"expires": expires, "staff_signature": _staff_links.signature(f"{name}:{expires}")}
        return f"{super().url(name)}?{urlencode(query)}"

    def direct_upload(self, name: str, *, content_type: str, num_bytes: int, sha256: str, seconds: int) -> DirectUpload:
        """The token in the address holds all that is to be known before the body is read."""
        token = signing.dumps([name, num_bytes, sha256], salt=_UPLOAD_SALT)
        return DirectUpload("PUT", reverse(UPLOAD_VIEW, args=[token]), headers={"Content-Type": content_type})


def is_signed(name: str, expires: str, signature: str) -> bool:
    """Whether a link's query was made by `SignedFileStorage.url` and has not expired."""
    return _is_genuine(_links, name, expires, signature)


def is_signed_for_staff(name: str, expires: str, signature: str) -> bool:
    """The same of `SignedFileStorage.staff_url`."""
    return _is_genuine(_staff_links, name, expires, signature)


def _is_genuine(signer: signing.Signer, name: str, expires: str, signature: str) -> bool:
    try:
        signer.unsign(f"{name}:{expires}:{signature}")
    except signing.BadSignature:
        return False
    return expires.isdecimal() and int(expires) > time.time()


def read_upload_token(token: str, *, seconds: int) -> UploadToken:
    """What a direct upload is for. Raises signing.SignatureExpired or signing.BadSignature."""
    return UploadToken(*signing.loads(token, salt=_UPLOAD_SALT, max_age=seconds))


def _new_incoming() -> str:
    return f"{INCOMING}/{uuid.uuid4().hex}"


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StorageFailure(Reason.FULL if full else Reason.UNAVAILABLE, str(error)) from error
