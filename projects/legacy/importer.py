"""Imports the projects of the older service with their ids, so that its clients find them again.

The videos stay where they are: their addresses are kept, and nothing is copied, rendered or charged. Projects that
were not finished count as failed.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
from django.db import transaction
from psycopg import sql
from psycopg.rows import dict_row

from accounts.models import Tenant
from projects.assets.source_urls import MAX_LENGTH
from projects.models import AudioOrder, Project, Take
from render.lifecycle import submission
from render.models import Render
from render.parameters import MAX_SEED

ENGINE = "infinitetalk"
QUEUE = "cpu"
BATCH = 500
MAX_TITLE, MAX_USER_ID = 200, 200


@dataclass
class Outcome:
    """What an import has done, or would do."""

    imported: int = 0
    known: int = 0  # Imported by an earlier run.
    refused: list[str] = field(default_factory=list)  # "ID: reason" of each.


def read_legacy(database_url: str, table: str) -> Iterator[dict[str, Any]]:
    """The rows of the older service's table, oldest first. table: with its schema if that is not on the search path.

    Raises psycopg.Error.
    """
    name = sql.Identifier(*table.split("."))
    # As JSON: later versions of the service had more columns, and any may be missing.
    query = sql.SQL("SELECT to_jsonb(p) AS row FROM {} p ORDER BY created_at, id").format(name)
    # A server-side cursor lasts for one transaction, which poolers allow.
    with psycopg.connect(database_url, row_factory=dict_row) as connection, connection.cursor("legacy") as cursor:
        cursor.execute(query)
        for record in cursor:
            yield record["row"]


def import_projects(rows: Iterator[dict[str, Any]], tenant: Tenant, *, dry_run: bool = False) -> Outcome:
    """Add the projects that are not there yet. A later run adds only those that are new then."""
    outcome = Outcome()
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            _import_batch(batch, tenant, outcome, dry_run=dry_run)
            batch = []
    _import_batch(batch, tenant, outcome, dry_run=dry_run)
    return outcome


def _import_batch(rows: list[dict[str, Any]], tenant: Tenant, outcome: Outcome, *, dry_run: bool) -> None:
    owners = dict(Project.objects.filter(pk__in=[row["id"] for row in rows]).values_list("pk", "tenant"))
    renders, projects, takes = [], [], []
    for row in rows:
        owner = owners.get(UUID(row["id"]))
        if owner is not None:
            if owner == tenant.pk:
                outcome.known += 1
            else:
                outcome.refused.append(f"{row['id']}: belongs to another tenant here")
            continue
        fault = _fault(row)
        if fault:
            outcome.refused.append(f"{row['id']}: {fault}")
            continue
        render, project, take = _rows_of(row, tenant)
        renders.append(render)
        projects.append(project)
        takes.append(take)
        outcome.imported += 1
    if not dry_run:
        with transaction.atomic():
            submission.add_ended(renders)
            Project.objects.bulk_create(projects)
            Take.objects.bulk_create(takes)


def _fault(row: dict[str, Any]) -> str | None:
    for name in ("title", "image_url", "audio_url"):
        if not row.get(name):
            return f"it has no {name}"
        if len(row[name]) > MAX_LENGTH:
            return f"its {name} is too long"
    return None


def _rows_of(row: dict[str, Any], tenant: Tenant) -> tuple[Render, Project, Take]:
    finished = row.get("status") == "finished" and bool(row.get("video_url"))
    created = _moment(row.get("created_at")) or datetime.now(UTC)
    updated = _moment(row.get("updated_at")) or created
    parameters = row.get("parameters") or {}
    order = row.get("audio_order")
    common = {
        "image_url": row["image_url"],
        "audio_url": row["audio_url"],
        "audio_order": order if order in AudioOrder.values else AudioOrder.LEFT_RIGHT,
    }
    render = submission.ended_elsewhere(
        **common,
        finished=finished,
        tenant=tenant,
        engine=ENGINE,
        queue=QUEUE,
        audio_url_2=row.get("audio_url_2") or "",
        prompt=row.get("prompt") or "",
        # For a retry: a render needs a seed.
        parameters={"seed": secrets.randbelow(MAX_SEED + 1)}
        | {name: value for name, value in parameters.items() if value is not None},
        progress=100 if finished else min(max(row.get("progress") or 0, 0), 99),
        error_code="" if finished else "internal",
        error_message="" if finished else row.get("error_message") or "The older service did not finish it.",
        created_at=created,
        completed_at=updated,
    )
    project = Project(
        **common,
        id=row["id"],
        tenant=tenant,
        user_id=(row.get("user_id") or "anonymous")[:MAX_USER_ID],
        title=row["title"][:MAX_TITLE],
        description=row.get("description"),
        audio_url_2=row.get("audio_url_2"),
        prompt=row.get("prompt"),
        parameters=parameters,
        created_at=created,
        updated_at=updated,
    )
    video_url = row["video_url"] if finished else ""
    return (
        render,
        project,
        Take(
            project=project,
            number=1,
            kind=Take.Kind.FINAL,
            render=render,
            imported_video_url=video_url,
            created_at=created,
        ),
    )


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
