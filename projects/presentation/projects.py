"""A project, its takes and how far they are: what the API shows."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from urllib.parse import urljoin

from django.conf import settings
from django.db.models import Count, OuterRef, Prefetch, QuerySet, Subquery, Value
from django.urls import reverse

from accounts.errors import PROBLEM_TYPES, problem
from projects.models import Project, Take
from projects.progress.hls import UNFINISHED, preview_path
from render.estimates.completion import Estimate, estimate
from render.estimates.queue_snapshot import Picture
from render.models import Render, State
from render.storage import media

# The four words of the older service, whose clients poll until `finished` or `failed`.
STATUS_OF_STATE = {
    State.QUEUED: "queued",
    State.RUNNING: "processing",
    State.FINISHED: "finished",
    State.FAILED: "failed",
    State.CANCELED: "failed",
}
STATUSES = ["queued", "processing", "finished", "failed"]
TYPES = ["single_person", "multi_person"]
SHOWN_TAKES = 20


def with_takes(projects: QuerySet[Project], *, shown: int = SHOWN_TAKES, up_to: int | None = None) -> QuerySet[Project]:
    """What `represent` needs, in one more query however many projects there are.

    shown: of each project, the newest takes. up_to: the number of the last one.
    """
    if up_to is None:
        newest = Take.objects.filter(project=OuterRef("project")).order_by("-number")
        takes = Take.objects.filter(number__gt=Subquery(newest.values("number")[:1]) - Value(shown))
    else:
        takes = Take.objects.filter(number__gt=up_to - shown, number__lte=up_to)
    large = (
        "sources",
        "plan",
        "parameters",
        "script",
        "error_trace",
        "image_url",
        "audio_url",
        "audio_url_2",
        "prompt",
    )
    unseen = [f"render__{name}" for name in large]
    takes = takes.select_related("render").defer(*unseen).annotate(num_segments=Count("render__segments"))
    return projects.prefetch_related(Prefetch("takes", queryset=takes.order_by("number")))


@dataclass(frozen=True)
class TakeRepresentation:
    take: Take
    base_url: str

    @property
    def video_url(self) -> str | None:
        return self.take.imported_video_url or self._absolute(self.take.render.video_key)

    @property
    def poster_url(self) -> str | None:
        return self._absolute(self.take.render.poster_key)

    @property
    def thumbnail_url(self) -> str | None:
        return self._absolute(self.take.render.poster_key, media.thumbnail_link)

    @property
    def num_segments(self) -> int:
        number: int = self.take.num_segments  # type: ignore[attr-defined]
        return number

    @property
    def preview_url(self) -> str | None:
        shown = self.num_segments and self.take.render.state not in UNFINISHED
        return self.base_url + preview_path(self.take.render_id) if shown else None

    def _absolute(self, key: str, link: Callable[[str], str] = media.link) -> str | None:
        if not key or self.take.render.state != State.FINISHED:
            return None
        return urljoin(f"{self.base_url}/", link(key))


@dataclass(frozen=True)
class Representation:
    project: Project
    takes: list[TakeRepresentation]  # the newest ones
    estimate: Estimate
    base_url: str

    @property
    def latest(self) -> TakeRepresentation:
        return self.takes[-1]

    @property
    def takes_total(self) -> int:
        return self.latest.take.number

    @property
    def render(self) -> Render:
        return self.latest.take.render

    @property
    def type(self) -> str:
        return "multi_person" if self.project.audio_url_2 else "single_person"

    @property
    def audio_url(self) -> str | None:
        return self.project.audio_url or None

    @property
    def warnings(self) -> list[dict[str, str]]:
        """Of the request, and of the files, as the latest take has found them."""
        return [*self.project.warnings, *self.render.warnings]

    @property
    def status(self) -> str:
        return STATUS_OF_STATE[State(self.render.state)]

    @property
    def phase(self) -> str | None:
        return None if self.render.is_terminal else self.render.phase

    @property
    def segment(self) -> int | None:
        if self.render.segments_total is None or self.render.state == State.FINISHED:
            return self.render.segments_total  # Its segments are deleted sooner than the film.
        return self.latest.num_segments

    @property
    def video_expires_at(self) -> datetime | None:
        if self.render.state != State.FINISHED or self.latest.take.imported_video_url:
            return None
        assert self.render.completed_at
        return self.render.completed_at + timedelta(days=self.project.tenant.plan.retention_days)

    @cached_property
    def error(self) -> dict[str, Any] | None:
        render = self.render
        if not render.error_code:
            return None
        # A row may be older than the list of codes.
        code = render.error_code if render.error_code in PROBLEM_TYPES else "internal"
        retryable = render.error_retryable if code == render.error_code else None
        return problem(code, render.error_message, param=render.error_param or None, retryable=retryable)

    @property
    def error_code(self) -> str | None:
        return self.error["code"] if self.error else None

    @property
    def error_message(self) -> str | None:
        return self.error["detail"] if self.error else None

    @property
    def urls(self) -> dict[str, str]:
        names = {
            **{"self": "detail", "status": "status", "events": "events"},
            **{"cancel": "cancel", "retry": "retry", "finalize": "finalize"},
        }
        return {
            key: self.base_url + reverse(f"project-{name}", kwargs={"pk": self.project.pk})
            for key, name in names.items()
        }


def represent(projects: Iterable[Project], *, base_url: str, picture: Picture | None = None) -> list[Representation]:
    """`projects` come from `with_takes`. picture: as `estimate` takes it."""
    takes = {project.pk: [TakeRepresentation(take, base_url) for take in project.takes.all()] for project in projects}
    estimates = estimate([of_project[-1].take.render for of_project in takes.values()], picture)
    return [
        Representation(project, of_project, estimates[of_project[-1].take.render.pk], base_url)
        for project in projects
        for of_project in [takes[project.pk]]
    ]


def represent_one(project: Project, *, up_to: int | None = None) -> Representation:
    """Outside of a tenant's request, as it stands now. up_to: the last take to be shown."""
    found = with_takes(Project.objects.select_related("tenant__plan"), up_to=up_to).get(pk=project.pk)
    return represent([found], base_url=settings.PUBLIC_URL)[0]
