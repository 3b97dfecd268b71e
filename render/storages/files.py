"""Media as files of this machine, which the service serves itself to signed links that expire."""

import contextlib
import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

from django.core import signing
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage
from django.urls import reverse

from render.storages.failures import Reason, StorageFailure
from render.storages.links import DirectUpload, link_expiry

_links = signing.Signer(salt="render.storages.files.link")
_UPLOAD_SALT = "render.storages.files.upload"
UPLOAD_VIEW = "upload-content"  # The name of the route that takes a direct upload.


class SignedFileStorage(FileSystemStorage):
    """Files that are either whole or not there: a killed writer leaves no torn file under a name that others trust."""

    def _save(self, name: str, content: File) -> str:  # type: ignore[type-arg]
        final = Path(self.path(name))
        partial = f"{name}.{uuid.uuid4().hex}.partial"
        with _failures():
            try:
                super()._save(partial, content)  # type: ignore[misc]
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

    def url(self, name: str | None) -> str:
        """A path of this site; only with its query the file is served."""
        expires = link_expiry()
        query = {"expires": expires, "signature": _links.signature(f"{name}:{expires}")}
        return f"{super().url(name)}?{urlencode(query)}"

    def direct_upload(self, name: str, *, content_type: str, num_bytes: int, sha256: str, seconds: int) -> DirectUpload:
        token = signing.dumps(name, salt=_UPLOAD_SALT)
        return DirectUpload("PUT", reverse(UPLOAD_VIEW, args=[token]), headers={"Content-Type": content_type})


def is_signed(name: str, expires: str, signature: str) -> bool:
    """Whether a link's query was made by `SignedFileStorage.url` and has not expired."""
    try:
        _links.unsign(f"{name}:{expires}:{signature}")
    except signing.BadSignature:
        return False
    return expires.isdecimal() and int(expires) > time.time()


def read_upload_token(token: str, *, seconds: int) -> str:
    """The name that a direct upload is for. Raises signing.SignatureExpired or signing.BadSignature."""
    name: str = signing.loads(token, salt=_UPLOAD_SALT, max_age=seconds)
    return name


@contextlib.contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StorageFailure(Reason.FULL if full else Reason.UNAVAILABLE, str(error)) from error
