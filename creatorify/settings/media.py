"""Media: where files are stored, links to them, and the limits of customers' files."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from creatorify.config import media_storages
from creatorify.settings.base import VAR_DIR, env

# Media belong to customers: other accounts of this machine may neither list nor read them.
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o700
MEDIA_URL = "/media/"
MEDIA_ROOT = env.path("MEDIA_ROOT", VAR_DIR / "media")
CLOUDINARY_URL = env.text("CLOUDINARY_URL")
S3_BUCKET = env.text("S3_BUCKET")


def _cloudinary() -> dict[str, Any]:
    return media_storages.cloudinary(CLOUDINARY_URL, auth_token_key=env.text("CLOUDINARY_AUTH_TOKEN_KEY"))


def _s3() -> dict[str, Any]:
    return media_storages.s3(
        S3_BUCKET,
        endpoint_url=env.url("S3_ENDPOINT_URL"),
        region=env.text("S3_REGION"),
        access_key_id=env.text("S3_ACCESS_KEY_ID"),
        secret_access_key=env.text("S3_SECRET_ACCESS_KEY"),
    )


_STORAGES: dict[str, Callable[[], dict[str, Any]]] = {
    "files": media_storages.files,
    "cloudinary": _cloudinary,
    "s3": _s3,
}
_default_storage = "cloudinary" if CLOUDINARY_URL else "s3" if S3_BUCKET else "files"
# MEDIA_STORAGE holds videos, posters and uploads; WORK_STORAGE what the nodes keep for one another: normalised sources,
# segments and checkpoints.
MEDIA_STORAGE = env.choice("MEDIA_STORAGE", _default_storage, choices=_STORAGES)
WORK_STORAGE = env.choice("WORK_STORAGE", "s3" if S3_BUCKET else MEDIA_STORAGE, choices=_STORAGES)
STORAGES = {
    "default": _STORAGES[MEDIA_STORAGE](),
    "work": _STORAGES[WORK_STORAGE](),
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
MEDIA_LINK_SECONDS = env.whole("MEDIA_LINK_SECONDS", 7 * 24 * 3600, least=1)  # S3 signs for a week at most.
STORAGE_ATTEMPTS = env.whole("STORAGE_ATTEMPTS", 4, least=1)  # of one call to a storage
STORAGE_BACKOFF_SECONDS = env.number("STORAGE_BACKOFF_SECONDS", 1, least=0)  # before the second attempt
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "OPTIONS": {"MAX_ENTRIES": 20_000},  # Signed links. Each process keeps its own.
    }
}

# Customers' files
ALLOW_PRIVATE_MEDIA_URLS = env.flag("ALLOW_PRIVATE_MEDIA_URLS")  # for development only
MAX_IMAGE_BYTES = env.whole("MAX_IMAGE_BYTES", 500 * 2**20, least=1)  # also of a source video, which replaces the image
MAX_AUDIO_BYTES = env.whole("MAX_AUDIO_BYTES", 200 * 2**20, least=1)
DOWNLOAD_TIMEOUT_SECONDS = env.number("DOWNLOAD_TIMEOUT_SECONDS", 300)
# Sent with downloads and webhooks. Some servers, such as Wikimedia's, refuse clients that name no contact.
USER_AGENT = f"creatorify/{version('creatorify')}"
if _contact := env.contact("USER_AGENT_CONTACT"):
    USER_AGENT += f" ({_contact})"

# Uploads and assets of one tenant
UPLOAD_SECONDS = env.whole("UPLOAD_SECONDS", 3600, least=1)  # An upload must arrive within it. Cloudinary's limit too.
MAX_UNSENT_UPLOADS = 100  # announced and not sent
MAX_UNSENT_UPLOAD_BYTES = 10 * 2**30
# Deleted and failed ones count for the 30 days that they are kept. Test keys have half of it.
MAX_ASSETS = 100_000
