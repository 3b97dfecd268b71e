"""`make contract`: thousands of requests that are made from the OpenAPI document, good and bad, to the real service.

Whatever is asked, the answer is one that the document knows: its status, its headers, its content type and its schema;
never a 5xx. And each operation has to succeed at least once, or nothing of it was tried.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

django.setup()

import httpx
from django.core.files.storage import default_storage
from django.db import connection

from accounts import keys
from accounts.models import Plan, Scope, Tenant
from creatorify.demo_media import write_portrait, write_speech
from tests.stack import running_service, until

CHECKS = [
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance"),
    *("response_schema_conformance", "ignored_auth"),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=200, help="of each operation")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            folder.chmod(0o755)
            with running_service(folder, CPU_WORKERS="1") as service:
                status = _run(service.base_url, folder, options)
                answers = json.loads((folder / "answers.json").read_text())
    finally:
        connection.creation.destroy_test_db(connection.settings_dict["NAME"], verbosity=0)
    return max(status, *(_told(operation, statuses) for operation, statuses in sorted(answers.items())))


def _run(base_url: str, folder: Path, options: argparse.Namespace) -> int:
    limits = dict.fromkeys(("max_queued", "monthly_seconds", "creates_per_minute", "requests_per_minute"), 10**8)
    tenant = Tenant.objects.create(name="Contract", plan=Plan.objects.create(name="Contract", **limits))
    api_key, key = keys.make(tenant, name="contract", scopes=list(Scope))
    environment = {
        **os.environ,
        **_first_things(base_url, folder, key),
        "CONTRACT_URL": base_url,
        "CONTRACT_KEY": key,
        "CONTRACT_KEY_ID": str(api_key.pk),
        "CONTRACT_ANSWERS": str(folder / "answers.json"),
        "SCHEMATHESIS_HOOKS": "tests.contract_hooks",
    }
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{base_url}/api/schema/"),
        *("--checks", ",".join(CHECKS), "--max-examples", str(options.examples), "--seed", str(options.seed)),
        *("--header", f"X-API-Key:{key}", "--request-timeout", "60", "--continue-on-failure", "--no-shrink"),
        *("--warnings", "off"),
    ]
    return subprocess.run(command, env=environment).returncode


def _first_things(base_url: str, folder: Path, key: str) -> dict[str, str]:
    """A finished project and a portrait of its own; their addresses."""
    media = folder / "media"
    media.mkdir(exist_ok=True)
    write_portrait(media / "portrait.jpg")
    write_speech(media / "speech.wav")
    links = {name: base_url + default_storage.url(name) for name in ("portrait.jpg", "speech.wav")}
    portrait = (media / "portrait.jpg").read_bytes()
    with httpx.Client(base_url=f"{base_url}/api/v1", headers={"X-API-Key": key}, timeout=60) as client:
        body = {"title": "First", "image_url": links["portrait.jpg"], "audio_url": links["speech.wav"]}
        project = client.post("/projects", json={**body, "parameters": {"engine": "instant"}}).json()
        announced = {"filename": "me.jpg", "content_type": "image/jpeg", "bytes": len(portrait)}
        upload = client.post("/uploads", json=announced).json()
        httpx.put(upload["url"], content=portrait, headers=upload["headers"]).raise_for_status()
        until(lambda: client.get(f"/assets/{upload['upload_id']}").json()["state"] == "ready")
        until(lambda: client.get(f"/projects/{project['id']}").json()["state"] == "finished")
    return {
        "CONTRACT_IMAGE": links["portrait.jpg"],
        "CONTRACT_VOICE": links["speech.wav"],
        "CONTRACT_ASSET": f"asset:{upload['upload_id']}",
    }


def _told(operation: str, statuses: dict[str, int]) -> int:
    succeeded = any(status.startswith("2") for status in statuses)
    counts = ", ".join(f"{status}: {number}" for status, number in sorted(statuses.items()))
    print(f"{operation:60} {counts}{'' if succeeded else ' NEVER SUCCEEDED'}")
    return 0 if succeeded else 1


if __name__ == "__main__":
    sys.exit(main())
