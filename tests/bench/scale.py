"""`make bench-scale`: how long lists, searches and reports take with 100,000 projects. Prints JSON; asserts nothing."""

import json
import os
import random
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

django.setup()

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, reset_queries
from django.test import Client

from accounts.api_keys import keys
from accounts.models import ApiKey, Plan, Tenant, UsageEntry
from projects.models import Project, Take
from render.models import Attempt, Node, Render, State
from tests.stack import scratch_database

PROJECTS = 100_000
TENANTS = 50
REPEATS = 20
YEAR = timedelta(days=365)


def main() -> None:
    settings.ALLOWED_HOSTS = ["*"]
    with scratch_database():
        key, plain = seed()
        report = measure(key, plain)
    print(json.dumps(report, indent=2))


def seed() -> tuple[ApiKey, str]:
    """One tenant has half of all, the others share the rest."""
    chance = random.Random(0)
    plan = Plan.objects.create(name="Bench", requests_per_minute=10**6, creates_per_minute=10**6)
    tenants = [Tenant.objects.create(name=f"Tenant {number}", plan=plan) for number in range(TENANTS)]
    made = [keys.issue(tenant, name="bench") for tenant in tenants]
    nodes = [Node.objects.create(name=f"gpu{number}", queue="gpu") for number in range(8)]
    now = datetime.now(UTC)
    for _ in range(PROJECTS // 5000):
        rows: list[list[Any]] = [[], [], [], [], []]
        for _ in range(5000):
            number = 0 if chance.random() < 0.5 else chance.randrange(TENANTS)
            created = now - chance.random() * YEAR
            failed = chance.random() < 0.05
            render = Render(
                tenant=tenants[number], engine=chance.choice(["draft", "infinitetalk"]), queue="gpu", image_url="-",
                audio_url="-", parameters={}, state=State.FAILED if failed else State.FINISHED, created_at=created,
                completed_at=created, error_code="no_face" if failed else "", node=chance.choice(nodes),
            )  # fmt: skip
            project = Project(
                tenant=tenants[number], api_key=made[number][0], title=f"Film {chance.randrange(10**6)}", image_url="-",
                audio_url="-", user_id=f"user-{chance.randrange(500)}", created_at=created, updated_at=created,
            )  # fmt: skip
            seconds = 0 if failed else chance.randrange(5, 120)
            rows[0].append(render)
            rows[1].append(project)
            rows[2].append(Take(project=project, number=1, kind="final", render=render))
            rows[3].append(
                UsageEntry(
                    tenant=tenants[number], api_key=made[number][0], render_id=render.pk, engine=render.engine,
                    resolution="480p", user_label=project.user_id, reserved_seconds=120, billed_seconds=seconds,
                    price_micros=15_000, amount_micros=15_000 * seconds, gpu_seconds=8.0 * seconds,
                    cost_micros=4000 * seconds, created_at=created, settled_at=created,
                )
            )  # fmt: skip
            rows[4].append(
                Attempt(
                    render=render, number=1, node=render.node, outcome="failed" if failed else "done",
                    render_seconds=8.0 * seconds, ended_at=created,
                )
            )  # fmt: skip
        for model, some in zip((Render, Project, Take, UsageEntry, Attempt), rows, strict=True):
            model._default_manager.bulk_create(some)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return made[0]


def measure(key: ApiKey, plain: str) -> dict[str, Any]:
    api, staff = Client(headers={"X-API-Key": plain}), Client()
    staff.force_login(User.objects.create_superuser("root"))
    project = Project.objects.filter(tenant=key.tenant).order_by("pk")[777]
    cursor = api.get("/api/v1/projects?limit=100")["X-Next-Cursor"]
    year = {"start": f"{datetime.now(UTC) - YEAR:%Y-%m-%d}", "end": f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}"}
    calls: dict[str, Callable[[], Any]] = {
        "API list, 20": lambda: api.get("/api/v1/projects"),
        "API list, 100, second page": lambda: api.get("/api/v1/projects", {"limit": 100, "cursor": cursor}),
        "API list of one user": lambda: api.get("/api/v1/projects", {"user_id": "user-7"}),
        "API list, failed only": lambda: api.get("/api/v1/projects", {"status": "failed"}),
        "API list, by words": lambda: api.get("/api/v1/projects", {"q": "Film 123"}),
        "API status": lambda: api.get(f"/api/v1/projects/{project.pk}/status"),
        "API usage of a month, by day": lambda: api.get("/api/v1/usage", {"group_by": "day"}),
        "API usage of a year, by month and engine": lambda: api.get(
            "/api/v1/usage", {**year, "group_by": "month,engine"}
        ),
        "API usage rows": lambda: api.get("/api/v1/usage/entries", {**year, "limit": 100}),
        "admin projects": lambda: staff.get("/admin/projects/project/"),
        "admin projects, by id": lambda: staff.get("/admin/projects/project/", {"q": str(project.pk)}),
        "admin projects, by key prefix": lambda: staff.get("/admin/projects/project/", {"q": key.prefix}),
        "admin projects, by title": lambda: staff.get("/admin/projects/project/", {"q": project.title}),
        "admin project": lambda: staff.get(f"/admin/projects/project/{project.pk}/change/"),
        "admin renders": lambda: staff.get("/admin/render/render/"),
        "admin usage": lambda: staff.get("/admin/accounts/usageentry/"),
        "admin operations": lambda: staff.get("/admin/operations/"),
        "admin report of a month": lambda: staff.get("/admin/report/"),
    }
    return {"projects": PROJECTS, "p95_ms": {name: _p95(call) for name, call in calls.items()}, **_slowest(calls)}


def _p95(call: Callable[[], Any]) -> float:
    milliseconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        response = call()
        milliseconds.append(1000 * (time.perf_counter() - start))
        assert response.status_code == 200, response.content
    return round(statistics.quantiles(milliseconds, n=20)[-1], 1)


def _slowest(calls: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    """The slowest single query of all, and how Postgres carries it out."""
    settings.DEBUG = True
    found: list[tuple[float, str, str]] = []
    for name, call in calls.items():
        reset_queries()
        call()
        found += [(float(query["time"]), name, query["sql"]) for query in connection.queries]
    seconds, name, sql = max(found)
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {sql}".replace("%", "%%"), [])
        plan = [line for (line,) in cursor.fetchall()]
    return {"slowest_query": {"of": name, "ms": 1000 * seconds, "sql": sql, "plan": plan}}


if __name__ == "__main__":
    main()
