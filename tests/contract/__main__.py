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

from accounts.api_keys import keys
from accounts.models import Scope, Tenant
from tests.stack import running_service, scratch_database, served_sources, unlimited_plan, until

CHECKS = [
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance"),
    *("response_schema_conformance", "ignored_auth"),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=200, help="of each operation")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with scratch_database(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        with running_service(folder) as service:
            status = _run(service.base_url, folder, options)
            answers = json.loads((folder / "answers.json").read_text())
    return max(status, *(_told(operation, statuses) for operation, statuses in sorted(answers.items())))


def _run(base_url: str, folder: Path, options: argparse.Namespace) -> int:
    tenant = Tenant.objects.create(name="Contract", plan=unlimited_plan("Contract"))
    api_key, key = keys.issue(tenant, name="contract", scopes=list(Scope))
    environment = {
        **os.environ,
        **_first_things(base_url, folder, key),
        "CONTRACT_URL": base_url,
        "CONTRACT_KEY": key,
        "CONTRACT_KEY_ID": str(api_key.pk),
        "CONTRACT_ANSWERS": str(folder / "answers.json"),
        "SCHEMATHESIS_HOOKS": "tests.contract.hooks",
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
    sources = served_sources(base_url, folder)
    portrait = (folder / "media" / "portrait.jpg").read_bytes()
    with httpx.Client(base_url=f"{base_url}/api/v1", headers={"X-API-Key": key}, timeout=60) as client:
        body = {"title": "First", **sources, "parameters": {"engine": "instant"}}
        project = client.post("/projects", json=body).json()
        announced = {"filename": "me.jpg", "content_type": "image/jpeg", "bytes": len(portrait)}
        upload = client.post("/uploads", json=announced).json()
        httpx.put(upload["url"], content=portrait, headers=upload["headers"]).raise_for_status()
        until(lambda: client.get(f"/assets/{upload['upload_id']}").json()["state"] == "ready")
        until(lambda: client.get(f"/projects/{project['id']}").json()["state"] == "finished")
    return {"CONTRACT_BODY": json.dumps(body), "CONTRACT_ASSET": f"asset:{upload['upload_id']}"}


def _told(operation: str, statuses: dict[str, int]) -> int:
    succeeded = any(status.startswith("2") for status in statuses)
    counts = ", ".join(f"{status}: {number}" for status, number in sorted(statuses.items()))
    print(f"{operation:60} {counts}{'' if succeeded else ' NEVER SUCCEEDED'}")
    return 0 if succeeded else 1


if __name__ == "__main__":
    sys.exit(main())
