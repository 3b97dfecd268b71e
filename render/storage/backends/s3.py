"""Media in an S3 bucket, by django-storages: of AWS, Cloudflare R2, Supabase Storage, MinIO or any other S3 server."""

import base64
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    TokenRetrievalError,
)
from django.conf import settings
from django.core.files.base import File
from storages.backends.s3 import S3Storage

from render.storage.backends.base import MediaStorage
from render.storage.content_types import content_type_of
from render.storage.failures import Reason, StorageFailure
from render.storage.links import DirectUpload, cached_link

CONFIGURATION = {
    "NoSuchBucket",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "AccessDenied",
    "AuthorizationHeaderMalformed",
}
# No credentials are configured, or those of the machine's role cannot be fetched.
NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, TokenRetrievalError)
FULL = {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "ServiceQuotaExceededException"}
LIMITED = {"SlowDown", "TooManyRequests", "ThrottlingException", "RequestLimitExceeded"}
IN_MEMORY_BYTES = 8 * 2**20  # A larger file that is read goes through the disk.
LONGEST_LINK_SECONDS = 7 * 24 * 3600  # of Signature Version 4


class SignedS3Storage(S3Storage, MediaStorage):
    """Private objects, read with presigned links. botocore itself repeats requests that may succeed at once."""

    def __init__(self, **options: Any) -> None:
        config = Config(
            signature_version="s3v4",
            connect_timeout=5,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": settings.STORAGE_ATTEMPTS},
            # Only where S3 requires them: not every server knows the newer checksums.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"},
        )
        super().__init__(
            file_overwrite=True,  # A name contains a content hash or an attempt: it is written again with the same.
            max_memory_size=IN_MEMORY_BYTES,
            client_config=config,
            **options,
        )

    def get_object_parameters(self, name: str) -> dict[str, Any]:
        return {**super().get_object_parameters(name), "ContentType": content_type_of(name)}

    def _save(self, name: str, content: File) -> str:  # type: ignore[type-arg]
        with _failures():
            saved: str = S3Storage._save(self, name, content)
        return saved

    def _open(self, name: str, mode: str = "rb") -> File:  # type: ignore[type-arg]
        with _failures():
            file: File = S3Storage._open(self, name, mode)  # type: ignore[type-arg]
            file.file  # noqa: B018  # Downloads the object now, so that its errors are raised inside `_failures`.
        return file

    def delete(self, name: str) -> None:
        with _failures():
            S3Storage.delete(self, name)

    def delete_folder(self, name: str) -> int:
        with _failures():
            responses = self.bucket.objects.filter(Prefix=f"{self._normalize_name(name)}/").delete()
        if errors := [error for response in responses for error in response.get("Errors", [])]:
            raise StorageFailure(Reason.UNAVAILABLE, str(errors[0]))
        return sum(len(response.get("Deleted", [])) for response in responses)

    def exists(self, name: str) -> bool:
        with _failures():
            is_there: bool = S3Storage.exists(self, name)
        return is_there

    def size(self, name: str) -> int:
        with _failures():
            num_bytes: int = S3Storage.size(self, name)
        return num_bytes

    def url(self, name: str | None) -> str:
        def make(expiry: int) -> str:
            seconds = min(expiry - int(time.time()), LONGEST_LINK_SECONDS)
            with _failures():  # Signing needs credentials.
                link: str = S3Storage.url(self, name, expire=seconds)
            return link

        return cached_link(f"{self.bucket_name}:{name}", make)

    def direct_upload(self, name: str, *, content_type: str, num_bytes: int, sha256: str, seconds: int) -> DirectUpload:
        # A presigned PUT, which S3 accepts only with exactly this size and hash.
        headers = {"Content-Type": content_type}
        signed = {"Bucket": self.bucket_name, "Key": name, "ContentType": content_type, "ContentLength": num_bytes}
        if sha256:
            signed["ChecksumSHA256"] = base64.b64encode(bytes.fromhex(sha256)).decode()
            headers["x-amz-checksum-sha256"] = signed["ChecksumSHA256"]
        with _failures():
            client = self.connection.meta.client
            url = client.generate_presigned_url("put_object", Params=signed, ExpiresIn=seconds)
        return DirectUpload("PUT", url, headers=headers)


@contextmanager
def _failures() -> Iterator[None]:
    """Raise StorageFailure for botocore's errors; for a missing object django-storages raises FileNotFoundError."""
    try:
        yield
    except ClientError as error:
        raise StorageFailure(_reason(error), str(error)) from error
    except NO_CREDENTIALS as error:
        raise StorageFailure(Reason.CREDENTIALS, str(error)) from error
    except BotoCoreError as error:
        raise StorageFailure(Reason.UNAVAILABLE, str(error)) from error


def _reason(error: ClientError) -> Reason:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in FULL or status == 507:
        return Reason.FULL
    if code in CONFIGURATION or status in (401, 403):
        return Reason.CREDENTIALS
    if code == "EntityTooLarge" or status == 413:
        return Reason.TOO_LARGE
    if code in LIMITED or status == 429:
        return Reason.LIMITED
    return Reason.UNAVAILABLE if status >= 500 or not status else Reason.REFUSED
