"""Entries of Django's STORAGES for the three kinds of media storage."""

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured


def files() -> dict[str, Any]:
    # Names contain a content hash or the number of an attempt, so a file that is overwritten gets the same content.
    return {"BACKEND": "render.storage.backends.files.SignedFileStorage", "OPTIONS": {"allow_overwrite": True}}


def cloudinary(url: str, *, auth_token_key: str) -> dict[str, Any]:
    """url: `cloudinary://KEY:SECRET@CLOUD`, as its console shows it; `?upload_prefix=` is another region's API."""
    parts = urlsplit(url)
    if parts.scheme != "cloudinary" or not (parts.username and parts.password and parts.hostname):
        raise ImproperlyConfigured(
            "The environment variable CLOUDINARY_URL must look like cloudinary://KEY:SECRET@CLOUD"
        )
    return {
        "BACKEND": "render.storage.backends.cloudinary.CloudinaryStorage",
        "OPTIONS": {
            "cloud_name": parts.netloc.rpartition("@")[2],  # not `hostname`, which is lower case
            "api_key": unquote(parts.username),
            "api_secret": unquote(parts.password),
            "api_url": parse_qs(parts.query).get("upload_prefix", [""])[0],
            "auth_token_key": auth_token_key,
        },
    }


def s3(bucket: str, *, endpoint_url: str, region: str, access_key_id: str, secret_access_key: str) -> dict[str, Any]:
    """Empty arguments are resolved as by the AWS tools: from the machine's role or a profile."""
    if not bucket:
        raise ImproperlyConfigured("The environment variable S3_BUCKET is missing: a media storage is set to s3.")
    if bool(access_key_id) != bool(secret_access_key):
        raise ImproperlyConfigured(
            "Of the environment variables S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY only one is set: "
            "set both, or neither to use the machine's own role or profile."
        )
    return {
        "BACKEND": "render.storage.backends.s3.SignedS3Storage",
        "OPTIONS": {
            "bucket_name": bucket,
            "endpoint_url": endpoint_url or None,
            "region_name": region or None,
            "access_key": access_key_id or None,
            "secret_key": secret_access_key or None,
        },
    }
