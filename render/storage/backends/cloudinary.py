"""Media on Cloudinary, by its SDK. Every file has the type `authenticated`: it cannot be read without a signed link.

For the parameters see https://cloudinary.com/documentation/upload_parameters. Cloudinary counts sound as video.
"""

import mimetypes
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import cloudinary.api
import cloudinary.exceptions
import cloudinary.uploader
import cloudinary.utils
import httpx
from django.core.files.base import File
from django.utils.deconstruct import deconstructible

from render.storage.backends.base import MediaStorage
from render.storage.failures import Reason, StorageFailure, retried
from render.storage.links import DirectUpload, cached_link

KINDS = ("image", "video", "raw")  # Cloudinary's resource_type
CHUNK_BYTES = 20_000_000  # A larger file is sent in parts of this size; Cloudinary takes none below 5 MB.
TIMEOUT_SECONDS = 60.0  # without a byte, in one request
IN_MEMORY_BYTES = 8 * 2**20  # A larger file is read through the disk.


class Resource(NamedTuple):
    kind: str  # one of KINDS
    public_id: str
    format: str


def resource_of(name: str) -> Resource:
    suffix = PurePosixPath(name).suffix
    content_type = mimetypes.guess_type(name)[0] or ""
    kind = content_type.partition("/")[0]
    # A segment of a playlist is no video of its own.
    if kind not in ("image", "video", "audio") or content_type == "video/mp2t":
        return Resource("raw", name, "")
    return Resource("image" if kind == "image" else "video", name.removesuffix(suffix), suffix[1:])


class _Part:
    """A file that stays open when the SDK closes it, so that another try can read it again."""

    def __init__(self, content: File) -> None:  # type: ignore[type-arg]
        self.name = PurePosixPath(content.name or "file").name
        self.seek, self.tell, self.read = content.seek, content.tell, content.read

    def __enter__(self) -> "_Part":
        return self

    def __exit__(self, *error: object) -> None:
        pass


@deconstructible
class CloudinaryStorage(MediaStorage):
    """Files of one Cloudinary account."""

    def __init__(
        self, *, cloud_name: str, api_key: str, api_secret: str, api_url: str = "", auth_token_key: str = ""
    ) -> None:
        """api_url: of another region or of a test server.

        auth_token_key: hex, of an account with token-based delivery. With it links lead to the CDN, without it to the
        API's download of originals.
        """
        self._account: dict[str, Any] = {"cloud_name": cloud_name, "api_key": api_key, "api_secret": api_secret}
        if api_url:
            self._account["upload_prefix"] = api_url
        self._auth_token_key = auth_token_key

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name  # It contains a content hash or an attempt: it is written again with the same content.

    @retried
    def _save(self, name: str, content: File) -> str:  # type: ignore[type-arg]
        resource = resource_of(name)
        content.seek(0)
        options = {
            **self._options(resource.kind),
            "public_id": resource.public_id,
            "overwrite": True,
            "invalidate": True,
        }
        upload = cloudinary.uploader.upload_large if content.size > CHUNK_BYTES else cloudinary.uploader.upload
        with _failures():
            upload(_Part(content), chunk_size=CHUNK_BYTES, **options)
        return name

    @retried
    def _open(self, name: str, mode: str = "rb") -> File:  # type: ignore[type-arg]
        file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115  # The caller closes it.
        try:
            with httpx.stream("GET", self._download_url(name, expiry=None), timeout=TIMEOUT_SECONDS) as response:
                _require_success(response, name)
                for block in response.iter_bytes():
                    file.write(block)
        except (httpx.HTTPError, OSError) as error:
            file.close()
            if isinstance(error, httpx.HTTPError):
                raise StorageFailure(Reason.UNAVAILABLE, type(error).__name__) from error
            raise
        file.seek(0)
        return File(file, name)

    @retried
    def delete(self, name: str) -> None:
        resource = resource_of(name)
        with _failures():
            # For a missing file it returns "not found" and raises nothing.
            cloudinary.uploader.destroy(resource.public_id, invalidate=True, **self._options(resource.kind))

    def delete_folder(self, name: str) -> int:
        # By the admin API, which takes a limited number of requests an hour.
        return sum(self._delete_folder(name, kind) for kind in KINDS)

    @retried
    def _delete_folder(self, name: str, kind: str) -> int:
        number, cursor = 0, None
        while True:
            with _failures():
                response = cloudinary.api.delete_resources_by_prefix(
                    f"{name}/", invalidate=True, next_cursor=cursor, **self._options(kind)
                )
            number += len(response["deleted"])
            cursor = response.get("next_cursor")
            if not cursor:
                return number

    def exists(self, name: str) -> bool:
        try:
            self.size(name)
        except FileNotFoundError:
            return False
        return True

    @retried
    def size(self, name: str) -> int:
        resource = resource_of(name)
        with _failures():
            # By the upload API: the admin API takes a limited number of requests an hour.
            response = cloudinary.uploader.explicit(resource.public_id, **self._options(resource.kind))
        return int(response["bytes"])

    def url(self, name: str | None) -> str:
        assert name
        if not self._auth_token_key:
            return cached_link(name, lambda expiry: self._download_url(name, expiry=expiry))
        return cached_link(name, lambda expiry: self._delivery_url(name, expiry))

    def thumbnail_url(self, name: str, *, width: int) -> str:
        # Cloudinary makes it from a stored image, or from the first frame of a video.
        return cached_link(
            f"{width}:{name}", lambda expiry: self._delivery_url(name, expiry, width=width, crop="limit", format="jpg")
        )

    def direct_upload(self, name: str, *, content_type: str, num_bytes: int, sha256: str, seconds: int) -> DirectUpload:
        # Cloudinary accepts the signature for an hour, whatever `seconds` says.
        resource = resource_of(name)
        signed = cloudinary.utils.sign_request(
            {"timestamp": cloudinary.utils.now(), "public_id": resource.public_id, "type": "authenticated"},
            dict(self._account),
        )
        url = cloudinary.utils.cloudinary_api_url("upload", resource_type=resource.kind, **self._account)
        return DirectUpload("POST", url, fields={key: str(value) for key, value in signed.items()})

    def _options(self, kind: str) -> dict[str, Any]:
        return {**self._account, "resource_type": kind, "type": "authenticated", "timeout": TIMEOUT_SECONDS}

    def _download_url(self, name: str, *, expiry: int | None) -> str:
        resource = resource_of(name)
        url: str = cloudinary.utils.private_download_url(
            resource.public_id, resource.format, expires_at=expiry, **self._options(resource.kind)
        )
        return url

    def _delivery_url(self, name: str, expiry: int, **transformation: Any) -> str:
        resource = resource_of(name)
        token = {"auth_token": {"key": self._auth_token_key, "expiration": expiry}} if self._auth_token_key else {}
        url, _ = cloudinary.utils.cloudinary_url(
            resource.public_id,
            **{
                "cloud_name": self._account["cloud_name"],
                "api_secret": self._account["api_secret"],
                "resource_type": resource.kind,
                "type": "authenticated",
                "format": resource.format,
                "secure": True,
                "sign_url": True,
                **token,
                **transformation,
            },
        )
        return str(url)


def _require_success(response: httpx.Response, name: str) -> None:
    if response.status_code == 404:
        raise FileNotFoundError(name)
    if response.status_code in (401, 403):
        raise StorageFailure(Reason.CREDENTIALS, f"HTTP {response.status_code}")
    if response.status_code in (420, 429):
        raise StorageFailure(Reason.LIMITED, f"HTTP {response.status_code}")
    if not response.is_success:
        raise StorageFailure(Reason.UNAVAILABLE, f"HTTP {response.status_code}")


@contextmanager
def _failures() -> Iterator[None]:
    """Raise StorageFailure, or FileNotFoundError, for the SDK's errors."""
    try:
        yield
    except cloudinary.exceptions.NotFound as error:
        raise FileNotFoundError(str(error)) from error
    except cloudinary.exceptions.Error as error:
        raise StorageFailure(_reason(error), str(error)) from error


def _reason(error: cloudinary.exceptions.Error) -> Reason:
    """By the error's class, which stands for some HTTP statuses, and by Cloudinary's message, which says more."""
    text = str(error).lower()
    match error:
        case cloudinary.exceptions.BadRequest() if "size too large" in text:
            return Reason.TOO_LARGE
        case cloudinary.exceptions.BadRequest() | cloudinary.exceptions.AlreadyExists():
            return Reason.REFUSED
        case cloudinary.exceptions.AuthorizationRequired() | cloudinary.exceptions.NotAllowed():
            return Reason.FULL if "disabled" in text or "quota" in text or "exceeded" in text else Reason.CREDENTIALS
        case cloudinary.exceptions.RateLimited():
            return Reason.FULL if "quota" in text or "storage" in text or "credits" in text else Reason.LIMITED
    return Reason.LIMITED if "rate limit" in text or "too many requests" in text else Reason.UNAVAILABLE
