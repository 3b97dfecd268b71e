"""Media as files of this machine, which the service itself serves under signed links that expire."""

import contextlib
import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import urlencode

from django.core import signing
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage
from django.urls import reverse

from render.storage import incomplete_files
from render.storage.backends.base import IncomingFile, MediaStorage
from render.storage.failures import Reason, StorageFailure
from render.storage.links import DirectUpload, link_expiry
from render.storage.private_folder import private_folder

# The salts only look like module paths. They never change: customers hold links that depend on them.
_links = signing.Signer(salt="render.storages.files.link")
_staff_links = signing.Signer(salt="render.storages.files.staff_link")
_UPLOAD_SALT = "render.storages.files.upload.2"

STAFF_LINK_SECONDS = 3600  # As long as the longest video: a player requests parts of it until its end.
INCOMING = "incoming"  # The folder of uploads that are not checked yet, and of files that are not written to their end.
UPLOAD_VIEW = "upload-content"  # The name of the URL route that receives direct uploads.


class UploadToken(NamedTuple):
    """The announcement of a direct upload, carried by its URL."""

    name: str  # of the file, as given to `direct_upload`
    num_bytes: int
    sha256: str  # in hex; empty if it was not announced


class _LocalIncomingFile(IncomingFile):
    """The file is made by the first `write`, and locked until `release`, so that it does not look abandoned."""

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
            while remaining:  # One call may write only a part.
                remaining = remaining[os.write(self._descriptor, remaining) :]

    def flush(self) -> None:
        # Some network file systems report a failed write only when the file is closed.
        if self._descriptor is not None:
            with _failures():
                os.close(os.dup(self._descriptor))

    def delete(self) -> None:
        with _failures():
            self._path.unlink(missing_ok=True)

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):  # `flush` has reported it.
                os.close(descriptor)


class SignedFileStorage(FileSystemStorage, MediaStorage):
    """A file is written in the folder `incoming` and gets its name when it is complete.

    So a killed writer leaves no incomplete file under a final name; `abandoned` finds the one in `incoming`.
    """

    service_receives_uploads = True

    def _save(self, name: str, content: File) -> str:  # type: ignore[type-arg]
        final = Path(self.path(name))
        partial = _new_incoming()
        with _failures():
            try:
                # It locks the file while it writes.
                FileSystemStorage._save(self, partial, content)  # type: ignore[attr-defined]
                private_folder(final.parent)
                os.replace(self.path(partial), final)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.path(partial))
                raise
        return name

    def _open(self, name: str, mode: str = "rb") -> File:  # type: ignore[type-arg]
        try:
            file: File = FileSystemStorage._open(self, name, mode)  # type: ignore[attr-defined,type-arg]
            return file
        except PermissionError as error:
            raise StorageFailure(Reason.CREDENTIALS, str(error)) from error

    def delete(self, name: str) -> None:
        with _failures():
            FileSystemStorage.delete(self, name)

    def delete_folder(self, name: str) -> int:
        folder = Path(self.path(name))
        number = sum(len(files) for _, _, files in os.walk(folder))
        with _failures(), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)
        return number

    def abandoned(self, *, seconds: float) -> Iterator[str]:
        folder = Path(self.path(INCOMING))
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    is_old = entry.stat().st_mtime < time.time() - seconds
                    if is_old and not incomplete_files.is_being_written(Path(entry.path)):
                        yield f"{INCOMING}/{entry.name}"

    def url(self, name: str | None) -> str:
        expires = link_expiry()
        query = {"expires": expires, "signature": _links.signature(f"{name}:{expires}")}
        return f"{FileSystemStorage.url(self, name)}?{urlencode(query)}"

    def staff_url(self, name: str) -> str:
        expires = int(time.time()) + STAFF_LINK_SECONDS
        query = {"expires": expires, "staff_signature": _staff_links.signature(f"{name}:{expires}")}
        return f"{FileSystemStorage.url(self, name)}?{urlencode(query)}"

    def direct_upload(self, name: str, *, content_type: str, num_bytes: int, sha256: str, seconds: int) -> DirectUpload:
        # All that must be known before the body is read, so that no database is needed for that.
        token = signing.dumps([name, num_bytes, sha256], salt=_UPLOAD_SALT)
        return DirectUpload("PUT", reverse(UPLOAD_VIEW, args=[token]), headers={"Content-Type": content_type})

    def incoming_file(self) -> IncomingFile:
        return _LocalIncomingFile(self)

    def open_served(self, name: str) -> BinaryIO:
        try:
            # `path` refuses names that lead out of the folder, `open` whatever is not a file.
            return Path(self.path(name)).open("rb")
        except (NotADirectoryError, IsADirectoryError, ValueError, SuspiciousFileOperation) as error:
            raise FileNotFoundError(name) from error
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise FileNotFoundError(name) from error
            raise


def is_signed(name: str, expires: str, signature: str) -> bool:
    """Whether a link's query was made by `SignedFileStorage.url` and has not expired."""
    return _is_genuine(_links, name, expires, signature)


def is_signed_for_staff(name: str, expires: str, signature: str) -> bool:
    """Whether a link's query was made by `SignedFileStorage.staff_url` and has not expired."""
    return _is_genuine(_staff_links, name, expires, signature)


def _is_genuine(signer: signing.Signer, name: str, expires: str, signature: str) -> bool:
    try:
        signer.unsign(f"{name}:{expires}:{signature}")
    except signing.BadSignature:
        return False
    return expires.isdecimal() and int(expires) > time.time()


def read_upload_token(token: str, *, seconds: int) -> UploadToken:
    """seconds: how long a token is valid. Raises signing.SignatureExpired or signing.BadSignature."""
    return UploadToken(*signing.loads(token, salt=_UPLOAD_SALT, max_age=seconds))


def _new_incoming() -> str:
    return f"{INCOMING}/{uuid.uuid4().hex}"


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    """Raise StorageFailure for an OSError."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StorageFailure(Reason.FULL if full else Reason.UNAVAILABLE, str(error)) from error
