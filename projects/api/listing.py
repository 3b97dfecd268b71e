"""The list of projects: filters, and pages by keyset, so that new projects make no page skip or repeat one."""

import hashlib
import json
from datetime import datetime
from typing import Any
from uuid import UUID

from django.core import signing
from django.db.models import OuterRef, Q, QuerySet, Subquery
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.utils.urls import remove_query_param, replace_query_param

from accounts.api.fields import ChoiceField
from accounts.errors import ServiceError
from accounts.models import Tenant
from projects.models import Project, Take
from projects.presentation.projects import STATUS_OF_STATE, STATUSES, TYPES
from render.models import State

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
NEWEST_FIRST = "-created_at"
CURSOR_SALT = "projects.cursor"  # Never changes: cursors that clients hold depend on it.


class LimitField(serializers.IntegerField):
    """A number that is clamped to the range: the older service took any number."""

    def to_internal_value(self, data: Any) -> int:
        return min(max(super().to_internal_value(data), 1), MAX_LIMIT)


class ListQuery(serializers.Serializer[Any]):
    user_id = serializers.CharField(required=False, max_length=200)
    limit = LimitField(default=DEFAULT_LIMIT, help_text=f"1 to {MAX_LIMIT}; clamped.")
    type = ChoiceField(choices=TYPES, required=False)
    status = ChoiceField(choices=STATUSES, required=False)
    state = ChoiceField(choices=State.choices, required=False)
    created_after = serializers.DateTimeField(required=False)
    created_before = serializers.DateTimeField(required=False)
    q = serializers.CharField(required=False, max_length=200, help_text="Part of the title or the description.")
    order = ChoiceField(choices=["created_at", NEWEST_FIRST], default=NEWEST_FIRST)
    cursor = serializers.CharField(required=False, max_length=1000, help_text="From `X-Next-Cursor` or `Link`.")
    count = serializers.BooleanField(default=False, help_text="Adds `X-Total-Count`, at the cost of counting.")
    envelope = serializers.BooleanField(default=False, help_text="Answers an object with `data` instead of a list.")


class Page:
    """One page of a tenant's projects, for the validated values of a ListQuery."""

    def __init__(self, projects: QuerySet[Project], query: dict[str, Any], *, tenant: Tenant) -> None:
        self._fingerprint = _fingerprint(query, tenant)
        matching = _matching(projects, query)
        self.total = matching.count() if query["count"] else None
        descending = query["order"] == NEWEST_FIRST
        if "cursor" in query:
            matching = self._after(query["cursor"], matching, descending=descending)
        ordered = matching.order_by(*(["-created_at", "-id"] if descending else ["created_at", "id"]))
        limit: int = query["limit"]
        rows = list(ordered[: limit + 1])
        self.projects = rows[:limit]
        self.next_cursor = self._cursor(self.projects[-1]) if len(rows) > limit else None

    def headers(self, request: Request, *, base_url: str) -> dict[str, str]:
        url = base_url + request.get_full_path()
        links = [f'<{remove_query_param(url, "cursor")}>; rel="first"']
        headers = {"X-Has-More": "true" if self.next_cursor else "false"}
        if self.next_cursor:
            links.insert(0, f'<{replace_query_param(url, "cursor", self.next_cursor)}>; rel="next"')
            headers["X-Next-Cursor"] = self.next_cursor
        if self.total is not None:
            headers["X-Total-Count"] = str(self.total)
        return {**headers, "Link": ", ".join(links)}

    def _cursor(self, last: Project) -> str:
        return signing.dumps([last.created_at.isoformat(), str(last.pk), self._fingerprint], salt=CURSOR_SALT)

    def _after(self, cursor: str, projects: QuerySet[Project], *, descending: bool) -> QuerySet[Project]:
        try:
            created_at, key, fingerprint = signing.loads(cursor, salt=CURSOR_SALT)
        except signing.BadSignature:
            raise ServiceError("invalid_cursor", "This cursor is not one of ours.", param="cursor") from None
        if fingerprint != self._fingerprint:
            raise ServiceError("invalid_cursor", "This cursor belongs to a list with other filters.", param="cursor")
        moment, last = datetime.fromisoformat(created_at), UUID(key)
        if descending:
            return projects.filter(Q(created_at__lt=moment) | Q(id__lt=last), created_at__lte=moment)
        return projects.filter(Q(created_at__gt=moment) | Q(id__gt=last), created_at__gte=moment)


def _matching(projects: QuerySet[Project], query: dict[str, Any]) -> QuerySet[Project]:
    if "user_id" in query:
        projects = projects.filter(user_id=query["user_id"])
    if "type" in query:
        projects = projects.filter(audio_url_2__isnull=query["type"] == "single_person")
    if "created_after" in query:
        projects = projects.filter(created_at__gt=query["created_after"])
    if "created_before" in query:
        projects = projects.filter(created_at__lt=query["created_before"])
    if "q" in query:
        projects = projects.filter(Q(title__icontains=query["q"]) | Q(description__icontains=query["q"]))
    states = set(State)
    if "state" in query:
        states &= {State(query["state"])}
    if "status" in query:
        states &= {state for state, status in STATUS_OF_STATE.items() if status == query["status"]}
    if states != set(State):
        latest = Take.objects.filter(project=OuterRef("pk")).order_by("-number")
        projects = projects.alias(state=Subquery(latest.values("render__state")[:1])).filter(state__in=states)
    return projects


def _fingerprint(query: dict[str, Any], tenant: Tenant) -> str:
    """A hash of all that decides which projects come in which order. The size of a page may change between pages."""
    deciding = {name: value for name, value in query.items() if name not in ("limit", "cursor", "count", "envelope")}
    text = json.dumps([str(tenant.pk), deciding], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
