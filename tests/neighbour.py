"""A second tenant that has something of everything, and must find it as it was, whatever is done for another one."""

import time
from datetime import date, timedelta
from typing import Any, TypeAlias, TypeVar

from django.apps import apps
from django.db import connection, models, transaction
from django.utils import timezone
from psycopg import sql

from accounts.api_keys import keys
from accounts.models import (
    ApiKey,
    AuditEntry,
    FailedLogins,
    IdempotentResponse,
    Membership,
    Plan,
    RequestWindow,
    Tenant,
    UsageEntry,
    UsageThreshold,
)
from projects.models import Asset, Avatar, CheckTurn, Deletion, DiscardedObject, Project, RetentionFailure, Take
from projects.models.webhooks import EventType, WebhookDelivery, WebhookEndpoint, WebhookEvent
from render.models import TERMINAL_STATES, Attempt, Render, Segment, State

# Far enough that nothing of it becomes due by itself while a test runs.
FAR = timedelta(days=30)
# Written together in the end, each after what it refers to.
IN_ORDER = [
    Asset, Avatar, WebhookEndpoint, Project, Deletion, Render, Take, Attempt, Segment, UsageEntry, IdempotentResponse,
    WebhookEvent, WebhookDelivery,
]  # fmt: skip
NEW_SECONDS = 20  # less than any time after which something is over
SECRET = "neighbour-secret"  # stands in all that the neighbour has written
Rows: TypeAlias = dict[type[models.Model], dict[str, str]]
Row = TypeVar("Row", bound=models.Model)


def tables() -> list[type[models.Model]]:
    return [
        model
        for app in ("accounts", "projects", "render")
        for model in apps.get_app_config(app).get_models()
        if model._meta.managed
    ]


def rows() -> Rows:
    """Each row as Postgres writes it, by its key."""
    found: Rows = {model: {} for model in tables()}
    with connection.cursor() as cursor:
        cursor.execute(
            " UNION ALL ".join(
                f'SELECT {number}, "{model._meta.pk.column}"::text, t::text FROM "{model._meta.db_table}" t'
                for number, model in enumerate(found)
            )
        )
        each = list(found.values())
        for number, key, row in cursor.fetchall():
            each[number][key] = row
    return found


class Neighbour:
    def __init__(self, has: Rows) -> None:
        self._has = has

    @property
    def tenant(self) -> Tenant:
        [key] = self._has[Tenant]
        return Tenant.objects.get(pk=key)

    def assert_unchanged(self) -> None:
        """All rows are there, and none differs in one byte."""
        now = rows()
        for model, has in self._has.items():
            for key, row in has.items():
                assert now[model].get(key) == row, f"{model.__name__} {key} of the neighbour has changed"


class Neighbours:
    """Many tests have one. To make it through the models takes ten times as long as to write the same rows again, so
    it is made anew only when its times are no longer of now.
    """

    def __init__(self) -> None:
        self._has: Rows = {}
        self._statements = ""
        self._made_at = 0.0

    def add(self) -> Neighbour:
        if not self._has or time.monotonic() - self._made_at > NEW_SECONDS:
            self._made_at = time.monotonic()
            self._has = MadeOfModels().rows
            self._statements = self._as_statements()
        else:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(self._statements)
        return Neighbour(self._has)

    def _as_statements(self) -> str:
        insert = sql.SQL("INSERT INTO {table} SELECT * FROM unnest({rows}::{table}[])")
        # Foreign keys were checked when the rows were made.
        statements = [
            sql.SQL("SET LOCAL session_replication_role = replica"),
            *(
                insert.format(table=sql.Identifier(model._meta.db_table), rows=sql.Literal(list(has.values())))
                for model, has in self._has.items()
                if has
            ),
            sql.SQL("SET LOCAL session_replication_role = origin"),
        ]
        return sql.SQL("; ").join(statements).as_string(connection.connection)


class MadeOfModels:
    """For each kind of key: a project for each state of a render, and beside them whatever else there is."""

    def __init__(self) -> None:
        before = rows()
        plan = Plan.objects.create(
            name="Neighbour", prices={"instant": {"480p": 7}}, spend_cap_micros=10**9, retention_days=36500
        )
        self.tenant = Tenant.objects.create(name="Neighbour", plan=plan)
        self._new: dict[type[models.Model], list[Any]] = {model: [] for model in IN_ORDER}
        for is_test in (False, True):
            self._make(is_test)
        for model, objects in self._new.items():  # One statement each.
            model._default_manager.bulk_create(objects)
        for policy in ("create", "read"):
            RequestWindow.objects.create(tenant=self.tenant, policy=policy, started_at=timezone.now(), count=3)
        UsageThreshold.objects.create(
            tenant=self.tenant, month=date.today().replace(day=1), measure="seconds", percent=80, used=80, allowed=100
        )
        UsageEntry.objects.create(
            tenant=self.tenant, billed_seconds=5, amount_micros=35, reason=SECRET, settled_at=timezone.now()
        )
        CheckTurn.objects.create(tenant=self.tenant, begun_at=timezone.now())
        AuditEntry.objects.create(tenant=self.tenant, action="look", target=SECRET)
        later = timezone.now() + FAR
        DiscardedObject.objects.create(key=f"{self.tenant.pk}/uploads/{SECRET}", delete_after=later)
        RetentionFailure.objects.create(step="films", row_id=SECRET, error=SECRET, next_try_at=later)
        FailedLogins.objects.create(account=SECRET, address="192.0.2.1", started_at=timezone.now(), failures=1)
        self.rows: Rows = {
            model: {key: row for key, row in has.items() if key not in before[model]} for model, has in rows().items()
        }
        without = {model.__name__ for model, has in self.rows.items() if not has}
        # Of the machines, and of people.
        assert without <= {"Node", "ReaperClock", Membership.__name__, "User"}, f"The neighbour has no {without}"

    def _add(self, model: type[Row], **fields: Any) -> Row:
        row = model(**fields)
        self._new[model].append(row)
        return row

    def _make(self, is_test: bool) -> None:
        mode = ApiKey.Mode.TEST if is_test else ApiKey.Mode.LIVE
        key, _ = keys.issue(self.tenant, name="neighbour", mode=mode, expires_at=timezone.now() + FAR)
        own = {"tenant": self.tenant, "is_test": is_test}
        face, voice = (self._asset(own, kind) for kind in ("image", "audio"))
        for state in (Asset.State.WAITING, Asset.State.ERRORED, Asset.State.EXPIRED):
            self._asset(own, "image", state=state)
        self._add(Avatar, **own, name=SECRET, asset=face)
        endpoints = [
            self._add(WebhookEndpoint, **own, url=url, events=list(EventType))
            for url in ("https://neighbour.example/hook", "")
        ]
        for state in State:
            self._project(own, key, state, voice, endpoints)
        hidden = self._project(own, key, State.CANCELED, voice, [], deleted_at=timezone.now())
        self._add(Deletion, project=hidden, tenant=self.tenant, api_key=key, completed_at=timezone.now())

    def _asset(self, own: dict[str, Any], kind: str, *, state: str = "ready") -> Asset:
        place = f"{self.tenant.pk}/uploads/{kind}-{state}-{own['is_test']}"
        facts = {"content_type": f"{kind}/x", "num_bytes": 10, "sha256": "ab" * 32}
        return self._add(
            Asset, **own, **facts, filename=SECRET, key=place, state=state, kind=kind, expires_at=timezone.now() + FAR
        )

    def _project(
        self,
        own: dict[str, Any],
        key: ApiKey,
        state: str,
        voice: Asset,
        endpoints: list[WebhookEndpoint],
        **further: Any,
    ) -> Project:
        now = timezone.now()
        written = {"image_url": "https://neighbour.example/a.png", "prompt": SECRET, "script": {"text": SECRET}}
        project = self._add(Project,
            **own, **written, **further, api_key=key, title=SECRET, description=SECRET, metadata={"a": SECRET},
            audio_url=f"asset:{voice.pk}", webhook_url="https://neighbour.example/own", parameters={"seed": 1},
        )  # fmt: skip
        ended = state in TERMINAL_STATES
        render = self._add(Render,
            **written, tenant=self.tenant, engine="instant", queue="cpu", audio_url="https://neighbour.example/b.wav",
            parameters={"seed": 1, "resolution": "480p"}, sources={"voices": [SECRET]}, plan={"segments": []},
            segments_total=2, num_frames=50, state=state, attempt=0 if state == State.QUEUED else 1,
            lease_until=now + FAR if state == State.RUNNING else None, not_before=now + FAR, progress=40,
            completed_at=now if ended else None, error_trace=SECRET, video_key=f"{SECRET}.mp4",
        )  # fmt: skip
        self._add(Take, project=project, number=1, kind=Take.Kind.DRAFT, render=render)
        self._add(Attempt, render=render, number=1, render_seconds=3, ended_at=now if ended else None)
        self._add(Segment, render=render, index=0, attempt=1, key=SECRET, num_bytes=1, frames=25)
        self._add(UsageEntry,
            **own, api_key=key, render_id=render.pk, engine="instant", resolution="480p", user_label=SECRET,
            reserved_seconds=20, billed_seconds=2 if ended else None, settled_at=now if ended else None,
            price_micros=7, amount_micros=14 if ended else 140,
        )  # fmt: skip
        body = {"id": str(project.pk), "title": SECRET}
        for route in ("POST api/v1/projects/?\\Z", f"POST {state}"):
            self._add(
                IdempotentResponse,
                tenant=self.tenant,
                route=route,
                key=f"{state}-{project.pk}",
                fingerprint="x",
                status=201,
                body=body,
            )
        for kind in (EventType.QUEUED, EventType.FINISHED):
            event = self._add(
                WebhookEvent, type=kind, project_id=project.pk, render_id=render.pk, handed_out_at=now, data=None
            )
            for number, endpoint in enumerate(endpoints):
                self._add(
                    WebhookDelivery,
                    event=event,
                    endpoint=endpoint,
                    url="" if endpoint.url else project.webhook_url,
                    body=SECRET,
                    tries=1,
                    next_try_at=None if number else now + FAR,
                    delivered_at=now if number else None,
                )
        return project
