"""Media on Cloudinary, by its SDK. Everything is of the type `authenticated`: nobody gets it without a signed link.

Names: https://cloudinary.com/documentation/upload_parameters. What Cloudinary calls a video may be a voice, too.
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
from django.core.files.storage import Storage
from django.utils.deconstruct import deconstructible

from render.storage.errors import Reason, StorageFailure, retried
from render.storage.links import DirectUpload, kept_link

KINDS = ("image", "video", "raw")  # Cloudinary's resource_type
CHUNK_BYTES = 20_000_000  # What is larger goes up in pieces; Cloudinary takes no less than 5 MB for one.
TIMEOUT_SECONDS = 60.0  # of silence, in one request
IN_MEMORY_BYTES = 8 * 2**20  # A larger file that is read goes through the disk.


class Resource(NamedTuple):
    kind: str  # one of KINDS
    public_id: str
    format: str


def resource_of(name: str) -> Resource:
    suffix = PurePosixPath(name).suffix
    content_type = mimetypes.guess_type(name)[0] or ""
    kind = content_type.partition("/")[0]
    # A piece of a playlist is no video of its own.
    if kind not in ("image", "video", "audio") or content_type == "video/mp2t":
        return Resource("raw", name, "")
    return Resource("image" if kind == "image" else "video", name.removesuffix(suffix), suffix[1:])


class _Part:
    """A file as the SDK wants it, which closes what it has read; another try must read it again."""

    def __init__(self, content: File) -> None:  # type: ignore[type-arg]
        self.name = PurePosixPath(content.name or "file").name
        self.seek, self.tell, self.read = content.seek, content.tell, content.read

    def __enter__(self) -> "_Part":
        return self

    def __exit__(self, *error: object) -> None:
        pass


@deconstructible
class CloudinaryStorage(Storage):
    """api_url: of another region's or a local API. auth_token_key: of token-based delivery, hex, if the account has it;
    links then lead to the CDN, else to the API's download of originals.
    """

    def __init__(
        self, *, cloud_name: str, api_key: str, api_secret: str, api_url: str = "", auth_token_key: str = ""
    ) -> None:
        self._account: dict[str, Any] = {"cloud_name": cloud_name, "api_key": api_key, "api_secret": api_secret}
        if api_url:
            self._account["upload_prefix"] = api_url
        self._auth_token_key = auth_token_key

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name  # Names hold a content hash or an attempt: who writes one again writes the same.

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
            # A missing one is no error: the answer is "not found".
            cloudinary.uploader.destroy(resource.public_id, invalidate=True, **self._options(resource.kind))

    def delete_folder(self, name: str) -> int:
        """Everything below it; returns how many objects that were. Of the admin API, so limited to some an hour."""
        return sum(self._delete_folder(name, kind) for kind in KINDS)

    @retried
    def _delete_folder(self, name: str, kind: str) -> int:
        number, cursor = 0, None
        while True:
            with _failures():
                answer = cloudinary.api.delete_resources_by_prefix(
                    f"{name}/", invalidate=True, next_cursor=cursor, **self._options(kind)
                )
            number += len(answer["deleted"])
            cursor = answer.get("next_cursor")
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
            # Of the upload API: the admin API, which could tell, too, is limited to some requests an hour.
            answer = cloudinary.uploader.explicit(resource.public_id, **self._options(resource.kind))
        return int(answer["bytes"])

    def url(self, name: str | None) -> str:
        assert name
        if not self._auth_token_key:
            return kept_link(name, lambda expiry: self._download_url(name, expiry=expiry))
        return kept_link(name, lambda expiry: self._delivery_url(name, expiry))

    def thumbnail_url(self, name: str, *, width: int) -> str:
        """A smaller picture that Cloudinary makes of a stored one, or of the first frame of a film."""
        return kept_link(
            f"{width}:{name}", lambda expiry: self._delivery_url(name, expiry, width=width, crop="limit", format="jpg")
        )

    def direct_upload(self, name: str, *, content_type: str, num_bytes: int, sha256: str, seconds: int) -> DirectUpload:
        """A signed upload. Cloudinary takes it for an hour, however few the seconds are."""
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
    """Raises StorageFailure, or FileNotFoundError, for what the SDK raises."""
    try:
        yield
    except cloudinary.exceptions.NotFound as error:
        raise FileNotFoundError(str(error)) from error
    except cloudinary.exceptions.Error as error:
        raise StorageFailure(_reason(error), str(error)) from error


def _reason(error: cloudinary.exceptions.Error) -> Reason:
    """The SDK keeps the status as a class, or not at all, and Cloudinary tells most in its message."""
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
