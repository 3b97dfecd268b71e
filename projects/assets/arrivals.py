"""Receives the body of an upload into the media folder, up to the announced size, and hashes it on the way.

Each body is written under a name of its own. The first complete one becomes the asset's file, the others are dropped:
so a checked file cannot be overwritten, however many bodies are sent to one address, and whenever they end.
"""

import hashlib
import threading
import time
from pathlib import PurePosixPath
from uuid import UUID

from django.conf import settings
from django.core import signing
from django.db import Error as DatabaseError
from django.utils import timezone

from accounts.errors import ServiceError
from projects.assets import services as assets
from projects.models import Asset
from render.storage import media
from render.storage.backends.files import UploadToken, read_upload_token
from render.storage.failures import StorageFailure

BLOCK_BYTES = 256 * 1024  # Written, and kept in memory, at a time.


class Arrival:
    """One body. `abandon` may be called at any moment and from any thread, and must be called at the end.

    Making it touches neither disk nor database. Raises ServiceError `not_found` or `upload_expired` for the token.
    """

    def __init__(self, token: str) -> None:
        self._announced = _read(token)
        storage = media.storage_of(self._announced.name)
        if not storage.service_receives_uploads:
            raise ServiceError("not_found", "Files are not sent to this service here.")
        self._file = storage.incoming_file()
        self._digest = hashlib.sha256()
        self._received = 0
        self._is_over = False
        self._lock = threading.Lock()  # A request may end while another thread still writes for it.

    def expect(self, num_bytes: int | None) -> None:
        """num_bytes: the Content-Length; None if the request has none. Raises ServiceError `size_mismatch`."""
        if num_bytes is not None and num_bytes != self._announced.num_bytes:
            raise self._size_mismatch(f"{num_bytes} bytes")

    @property
    def tenant_id(self) -> UUID | None:
        """The tenant whose file it is to become."""
        return media.tenant_id_of(self._announced.name)

    def count(self, num_bytes: int) -> None:
        """Add to the number of received bytes. Raises ServiceError `size_mismatch` or `upload_expired`.

        The whole body must arrive before the address expires: otherwise it could be sent for hours, little by little.
        """
        if time.monotonic() > self._ends:
            raise assets.upload_expired()
        self._received += num_bytes
        if self._received > self._announced.num_bytes:
            raise self._size_mismatch(f"{self._received} bytes or more")

    def begin(self) -> Asset:
        """Find the asset that the body is for. Raises ServiceError, see `_find`."""
        self._asset = _find(self._announced)
        left = (self._asset.expires_at - timezone.now()).total_seconds() if self._asset.expires_at else 0.0
        # By a clock that is never set.
        self._ends = time.monotonic() + min(left, settings.UPLOAD_SECONDS)
        return self._asset

    def write(self, block: bytes) -> None:
        """Raises ServiceError `unavailable` when the disk does not take it."""
        with self._lock:
            if not self._is_over:
                self._digest.update(block)
                try:
                    self._file.write(block)
                except StorageFailure as failure:
                    raise ServiceError("unavailable", "The file cannot be stored at the moment.") from failure

    def finish(self) -> Asset:
        """Make the complete body the asset's file.

        Raises ServiceError `size_mismatch`, `hash_mismatch`, `invalid_state` when another body was first,
        `upload_expired` or `unavailable`; and DatabaseError, after which the file stays, as the asset may name it.
        """
        with self._lock:
            if self._received != self._announced.num_bytes:
                raise self._size_mismatch(f"{self._received} bytes")
            if self._announced.sha256 and self._digest.hexdigest() != self._announced.sha256:
                raise ServiceError("hash_mismatch", "The body's SHA-256 is not the announced one.", param="sha256")
            try:
                self._file.flush()
            except StorageFailure as failure:
                raise ServiceError("unavailable", "The file cannot be stored at the moment.") from failure
            try:
                assets.arrived(self._asset, key=self._file.name)
            except DatabaseError:
                self._is_over = True  # `projects.retention.policy` deletes the file if the asset does not name it.
                raise
            self._is_over = True
            return self._asset

    def abandon(self) -> None:
        """Delete what was received, unless it has become the asset's file."""
        with self._lock:
            try:
                if not self._is_over:
                    self._is_over = True
                    self._file.delete()
            finally:
                self._file.release()

    def _size_mismatch(self, received: str) -> ServiceError:
        detail = f"The body has {received}, {self._announced.num_bytes} were announced."
        return ServiceError("size_mismatch", detail, param="bytes")


def _read(token: str) -> UploadToken:
    try:
        return read_upload_token(token, seconds=settings.UPLOAD_SECONDS)
    except signing.SignatureExpired:
        raise assets.upload_expired() from None
    except signing.BadSignature:
        raise ServiceError("not_found", "There is no such upload.") from None


def _find(announced: UploadToken) -> Asset:
    """Raises ServiceError `not_found`, `tenant_suspended`, `upload_expired` or `invalid_state`."""
    asset_id = PurePosixPath(announced.name).stem  # see `assets.announce`
    asset = Asset.objects.select_related("tenant").filter(pk=asset_id, deleted_at=None).first()
    if asset is None:
        raise ServiceError("not_found", "There is no such upload.")
    if asset.tenant.suspended_at is not None:
        raise ServiceError("tenant_suspended", "This account is suspended.")
    if asset.state == Asset.State.EXPIRED:
        raise assets.upload_expired()
    if asset.uploaded_at is not None or asset.state != Asset.State.WAITING:
        raise assets.arrived_already()
    return asset
