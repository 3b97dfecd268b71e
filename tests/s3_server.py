"""A server that speaks S3's protocol on loopback: moto, with one empty bucket."""

from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import httpx
from moto.server import ThreadedMotoServer

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
