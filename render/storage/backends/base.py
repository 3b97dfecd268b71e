"""The interface of a media storage: everything that the service asks of one, and nothing else.

A new storage implements the abstract methods and is registered in `_STORAGES` of `creatorify/settings/media.py`. All
steps stand in CONTRIBUTING.md, "Add a media storage".
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from django.core.files.base import File
from django.core.files.storage import Storage

from render.storage.links import DirectUpload


class IncomingFile(Protocol):
    """A new file of a storage, written block by block under a name that no other file has."""

    name: str

    def write(self, block: bytes) -> None:
        """Append a block. Raises StorageFailure."""

    def flush(self) -> None:
        """Called after the last block. Raises StorageFailure if something was not written."""

    def delete(self) -> None:
        """Remove the file; no error if there is none. Raises StorageFailure."""

    def release(self) -> None:
        """Must be called at the end: until then `MediaStorage.abandoned` leaves the file out."""


class MediaStorage(Storage, ABC):
    """Names are paths with `/`, without one at the beginning. What a name holds is either whole or not there.

    Every method may raise StorageFailure, which says whether another try can help. Callers use Django's `save(name,
    content)` and `open(name)`, which call `_save` and `_open`. A name that is saved again gets the new content: the
    service gives two contents two names, so it never loses one that way.
    """

    # True: `direct_upload` leads to this service, which writes the body to `incoming_file`.
    # False: customers send their files straight to the storage's own servers.
    service_receives_uploads = False

    @abstractmethod
    def _save(self, name: str, content: File) -> str:  # type: ignore[type-arg]
        """Store the content from its beginning and return `name`."""

    @abstractmethod
    def _open(self, name: str, mode: str = "rb") -> File:  # type: ignore[type-arg]
        """The file, to read from its beginning; the caller closes it. Raises FileNotFoundError."""

    @abstractmethod
    def exists(self, name: str) -> bool: ...

    @abstractmethod
    def size(self, name: str) -> int:
        """In bytes. Raises FileNotFoundError."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete one file; no error if there is none."""

    @abstractmethod
    def delete_folder(self, name: str) -> int:
        """Delete every file below `name/`; return how many there were."""

    @abstractmethod
    def url(self, name: str | None) -> str:
        """A signed link for a customer, valid until `links.link_expiry`: an absolute URL, or a path of this service."""

    @abstractmethod
    def direct_upload(self, name: str, *, content_type: str, num_bytes: int, sha256: str, seconds: int) -> DirectUpload:
        """The request with which a customer sends a file of `num_bytes` bytes within `seconds` seconds.

        sha256: in hex, or empty if the customer has not announced it. A storage that can refuses a body of another
        size or hash; the service checks both again afterwards.
        """

    # What follows has an ordinary answer, which a storage may better.

    def staff_url(self, name: str) -> str:
        """The same as `url` for support staff. It works for the files of suspended tenants, too."""
        return self.url(name)

    def thumbnail_url(self, name: str, *, width: int) -> str:
        """A link to a smaller copy of an image, at most `width` pixels wide; where there is none, to the image."""
        return self.url(name)

    def incoming_file(self) -> IncomingFile:
        """A new file for the body of a direct upload. Only where `service_receives_uploads`."""
        raise NotImplementedError("Customers send their files straight to this storage.")

    def abandoned(self, *, seconds: float) -> Iterator[str]:
        """Names of incomplete files that no process writes, unchanged for `seconds` seconds: their writer was killed.

        None where the storage's own servers take care of such files.
        """
        return iter(())

    def open_served(self, name: str) -> BinaryIO:
        """A local file, whose links lead to this service. Raises FileNotFoundError for what it does not serve; OSError
        when this machine or its disk fails.
        """
        raise FileNotFoundError(name)
