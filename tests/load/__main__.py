"""`make load`: rising rates of creates, status reads and lists on the real service, beside a view that does nothing.

Every figure is taken in one run on one machine, requests and answers on the same cores; so compare the ratios.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.load.settings")

import django

django.setup()

import httpx

from accounts.api_keys import keys
from accounts.models import Tenant
from tests.stack import running_service, scratch_database, served_sources, unlimited_plan

EACH = 0.5  # requests a second of one user; of many that send seldom, few do so at the same moment
USERS = {"create": "Create", "status": "Status", "list": "List", "bare_get": "BareGet", "bare_post": "BarePost"}
TENANTS = 4
PROJECTS = 200  # that are polled
# A second: what is asked of the API, and of the bare view at the same rates before.
STEPS = [
    {"create": 5, "status": 75, "list": 2},
    {"create": 10, "status": 150, "list": 5},
    {"create": 20, "status": 300, "list": 10},
    {"create": 40, "status": 600, "list": 20},
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=30, help="of each step")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with scratch_database(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        settings = {
            "DJANGO_SETTINGS_MODULE": "tests.load.settings",
            "RENDER_LEASE_SECONDS": "60",
            "WEB_CONCURRENCY": str(os.cpu_count()),
        }
        with running_service(folder, **settings) as service:
            environment = _prepare(service.base_url, folder)
            report = [_step(step, environment, folder, options.seconds) for step in STEPS]
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))


def _prepare(base_url: str, folder: Path) -> dict[str, str]:
    plan = unlimited_plan("Load")
    tenants = [Tenant.objects.create(name=f"Load {number}", plan=plan) for number in range(TENANTS)]
    plain_keys = [keys.issue(tenant, name="load")[1] for tenant in tenants]
    sources = served_sources(base_url, folder)
    body = {"title": "Load", **sources, "parameters": {"engine": "stateful", "seed": 1}}
    projects = []
    for number in range(PROJECTS):
        key = plain_keys[number % TENANTS]
        answer = httpx.post(f"{base_url}/api/v1/projects", json=body, headers={"X-API-Key": key}, timeout=30)
        projects.append(f"{key}:{answer.raise_for_status().json()['id']}")
    return {
        "LOAD_URL": base_url,
        "LOAD_KEYS": " ".join(plain_keys),
        "LOAD_PROJECTS": " ".join(projects),
        "LOAD_BODY": json.dumps(body),
    }


def _step(step: dict[str, int], environment: dict[str, str], folder: Path, seconds: int) -> dict[str, object]:
    bare = _run({"bare_get": step["status"], "bare_post": step["create"]}, environment, folder, seconds)
    own = _run(step, environment, folder, seconds)
    report = {
        "asked": step,
        "measured": {**bare, **own},
        "create_to_bare_p99": _ratio(own.get("create"), bare.get("bare POST")),
        "status_to_bare_p99": _ratio(own.get("status"), bare.get("bare GET")),
    }
    print(json.dumps(report), flush=True)
    return report


def _ratio(own: dict[str, float] | None, bare: dict[str, float] | None) -> float | None:
    """None where not one request was answered."""
    if own is None or bare is None:
        return None
    return round(own["p99_ms"] / bare["p99_ms"], 2)


def _run(rates: dict[str, int], environment: dict[str, str], folder: Path, seconds: int) -> dict[str, dict[str, float]]:
    command = [
        *(str(Path(sys.executable).with_name("locust")), "-f", "tests/load/users.py", "--headless", "--only-summary"),
        *("--spawn-rate", "1000", "--run-time", f"{seconds}s", "--csv", str(folder / "figures"), "--loglevel", "ERROR"),
    ]
    command += ["--users", str(round(sum(rates.values()) / EACH)), *(USERS[kind] for kind in rates)]
    asked = {f"RATE_{kind}": str(rate) for kind, rate in rates.items()} | {"EACH": str(EACH)}
    with (folder / "locust.log").open("ab") as log:
        subprocess.run(command, env={**os.environ, **environment, **asked}, stdout=log, stderr=log)
    rows = {row["Name"]: row for row in _rows(folder / "figures_stats.csv") if row["Name"] != "Aggregated"}
    for failure in _rows(folder / "figures_failures.csv"):
        print(f"{failure['Occurrences']} × {failure['Name']}: {failure['Error']}", file=sys.stderr)
    return {
        name: {
            "per_second": round(float(row["Requests/s"]), 1),
            "failed": int(row["Failure Count"]),
            "p50_ms": float(row["50%"]),
            "p99_ms": float(row["99%"]),
        }
        for name, row in rows.items()
    }


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
