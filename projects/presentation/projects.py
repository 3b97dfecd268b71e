"""Projects with their takes and estimates, as the API and the webhooks show them."""

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
from projects.presentation.deadlines import unlikely_deadlines
from projects.progress.hls import UNFINISHED, preview_path
from render.estimates.completion import Estimate, estimate
from render.estimates.queue_snapshot import QueueSnapshot
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
    """The projects with the takes that `present` shows, which take one more statement for any number of projects.

    shown: how many takes of each project, the newest ones. up_to: the number of the last take to be shown.
    """
    if up_to is None:
        newest = Take.objects.filter(project=OuterRef("project")).order_by("-number")
        takes = Take.objects.filter(number__gt=Subquery(newest.values("number")[:1]) - Value(shown))
    else:
        takes = Take.objects.filter(number__gt=up_to - shown, number__lte=up_to)
    large = (
        "sources",
        "plan",
        "speakers",
        "parameters",
        "script",
        "error_trace",
        "image_url",
        "audio_url",
        "audio_url_2",
        "prompt",
    )
    not_shown = [f"render__{name}" for name in large]
    takes = takes.select_related("render").defer(*not_shown).annotate(num_segments=Count("render__segments"))
    return projects.prefetch_related(Prefetch("takes", queryset=takes.order_by("number")))


@dataclass(frozen=True)
class TakePresentation:
    """A take as it is shown."""

    take: Take
    num_segments: int  # Those that are recorded.
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
    def video_alpha_url(self) -> str | None:
        return self._absolute(self.take.render.alpha_key)

    @property
    def preview_url(self) -> str | None:
        can_be_watched = self.num_segments and self.take.render.state not in UNFINISHED
        return self.base_url + preview_path(self.take.render_id) if can_be_watched else None

    def _absolute(self, key: str, link: Callable[[str], str] = media.link) -> str | None:
        if not key or self.take.render.state != State.FINISHED:
            return None
        return urljoin(f"{self.base_url}/", link(key))


@dataclass(frozen=True)
class ProjectPresentation:
    """A project as it is shown: what was requested, and how far its latest take is."""

    project: Project
    takes: list[TakePresentation]  # The newest ones, oldest first.
    estimate: Estimate
    base_url: str

    @property
    def latest(self) -> TakePresentation:
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
    def webhook_url(self) -> str | None:
        return self.project.webhook_url or None

    @property
    def warnings(self) -> list[dict[str, str]]:
        """The warnings of the request, and those of its files from the preparation of the latest take, which knows
        better what the request was warned of, too; and those of deadlines.
        """
        warnings = {(warning["param"], warning["code"]): warning for warning in self.project.warnings}
        for warning in self.render.warnings:
            warnings[warning["param"], warning["code"]] = warning
        return [*warnings.values(), *unlikely_deadlines(self.render, self.estimate)]

    @property
    def frame(self) -> dict[str, Any]:
        """width, height and crop; empty while the image is not known."""
        return self.render.frame or {}

    @property
    def status(self) -> str:
        return STATUS_OF_STATE[State(self.render.state)]

    @property
    def phase(self) -> str | None:
        return None if self.render.is_terminal else self.render.phase

    @property
    def segment(self) -> int | None:
        if self.render.segments_total is None or self.render.state == State.FINISHED:
            return self.render.segments_total  # The segments are deleted sooner than the video.
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
        # A row may be older than the list of codes is.
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
            "self": "detail",
            "status": "status",
            "events": "events",
            "cancel": "cancel",
            "retry": "retry",
            "finalize": "finalize",
        }
        return {
            key: self.base_url + reverse(f"project-{name}", kwargs={"pk": self.project.pk})
            for key, name in names.items()
        }


def present(
    projects: Iterable[Project], *, base_url: str, snapshot: QueueSnapshot | None = None
) -> list[ProjectPresentation]:
    """projects: of `with_takes`. base_url: what links begin with. snapshot: see `estimate`."""
    takes = {project.pk: _presented_takes(project, base_url) for project in projects}
    estimates = estimate([of_project[-1].take.render for of_project in takes.values()], snapshot)
    return [
        ProjectPresentation(project, of_project, estimates[of_project[-1].take.render.pk], base_url)
        for project in projects
        for of_project in [takes[project.pk]]
    ]


def present_new(take: Take, *, base_url: str, snapshot: QueueSnapshot | None = None) -> ProjectPresentation:
    """A project that was just made, from the objects in hand. take: its first one, with its project and its render."""
    [shown] = estimate([take.render], snapshot).values()
    return ProjectPresentation(take.project, [TakePresentation(take, 0, base_url)], shown, base_url)


def present_one(project: Project, *, up_to: int | None = None) -> ProjectPresentation:
    """A project as it is now, with links that begin with PUBLIC_URL. up_to: see `with_takes`."""
    as_it_is = with_takes(Project.objects.select_related("tenant__plan"), up_to=up_to).get(pk=project.pk)
    return present([as_it_is], base_url=settings.PUBLIC_URL)[0]


def _presented_takes(project: Project, base_url: str) -> list[TakePresentation]:
    takes: Any = project.takes.all()
    return [TakePresentation(take, take.num_segments, base_url) for take in takes]
