"""A server that speaks S3's protocol on loopback: moto, with one empty bucket."""

from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import httpx
from moto.server import ThreadedMotoServer

from creatorify.config import media_storages

BUCKET, KEY, SECRET, REGION = "creatorify-media", "test-key", "test-secret", "eu-central-1"


@contextmanager
def running_s3() -> Iterator[dict[str, str]]:
    """Yields the settings that lead to it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    httpx.post(f"{url}/moto-api/reset").raise_for_status()  # moto remembers what it had in this process.
    try:
        client = boto3.client(
            "s3", endpoint_url=url, region_name=REGION, aws_access_key_id=KEY, aws_secret_access_key=SECRET
        )
        client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        yield {
            "S3_BUCKET": BUCKET,
            "S3_ENDPOINT_URL": url,
            "S3_REGION": REGION,
            "S3_ACCESS_KEY_ID": KEY,
            "S3_SECRET_ACCESS_KEY": SECRET,
        }
    finally:
        server.stop()


def use_bucket_without_credentials(settings, monkeypatch) -> None:
    """Of a machine that has neither a role nor a profile."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    entry = media_storages.s3(
        BUCKET, endpoint_url="http://127.0.0.1:1", region=REGION, access_key_id="", secret_access_key=""
    )
    settings.STORAGES = {**settings.STORAGES, "default": entry, "work": entry}
