"""What happened to a project, in the order in which it happened."""

from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter

from accounts.admin.base import money
from accounts.audit import target_of
from accounts.models import AuditEntry, UsageEntry
from projects.models import Deletion, Project
from render.models import Attempt, Render, Segment

SEGMENTS = 1000  # The newest ones; a project of many takes may have many more.


@dataclass(frozen=True)
class Moment:
    """A line of the timeline."""

    at: datetime
    what: str
    details: str = ""
    is_bad: bool = False


def timeline(project: Project) -> list[Moment]:
    """The moments of a project, oldest first. Seven statements at most, for any number of moments."""
    takes = list(project.takes.select_related("render").order_by("number"))
    moments = [Moment(project.created_at, "Created", f"with key {project.api_key}" if project.api_key else "")]
    if project.deleted_at:
        moments.append(Moment(project.deleted_at, "Deleted"))
        deletion = Deletion.objects.filter(project=project).first()
        if deletion and deletion.completed_at:
            moments.append(Moment(deletion.completed_at, "Media deleted", f"{deletion.files} files"))
    names = {take.render_id: f"Take {take.number}" for take in takes}
    for take in takes:
        moments += _of_render(take.render, f"{names[take.render_id]} ({take.kind})")
    for attempt in Attempt.objects.filter(render__in=names).select_related("node"):
        moments += _of_attempt(attempt, names[attempt.render_id])
    for segment in Segment.objects.filter(render__in=names).order_by("-created_at")[:SEGMENTS]:
        details = f"{segment.frames} frames, attempt {segment.attempt}"
        moments.append(Moment(segment.created_at, f"{names[segment.render_id]}: segment {segment.index + 1}", details))
    for entry in UsageEntry.objects.filter(render_id__in=names):
        moments += _of_usage(entry, names[entry.render_id])  # type: ignore[index]
    targets = [target_of(project), *(target_of(take.render) for take in takes)]
    for audited in AuditEntry.objects.filter(target__in=targets).select_related("actor", "api_key"):
        who = audited.actor or audited.api_key or "the system"
        moments.append(Moment(audited.created_at, f"{audited.action} by {who}", audited.reason))
    return sorted(moments, key=attrgetter("at"))


def _of_render(render: Render, name: str) -> list[Moment]:
    moments = [Moment(render.created_at, f"{name}: queued", f"engine {render.engine}")]
    if render.cancel_requested_at:
        moments.append(Moment(render.cancel_requested_at, f"{name}: cancel asked for"))
    if render.completed_at:
        details = f"{render.error_code}: {render.error_message}" if render.error_code else ""
        moments.append(Moment(render.completed_at, f"{name}: {render.state}", details, bool(render.error_code)))
    return moments


def _of_attempt(attempt: Attempt, name: str) -> list[Moment]:
    what = f"{name}: attempt {attempt.number}"
    moments = [Moment(attempt.started_at, f"{what} began", f"on {attempt.node}")]
    if attempt.ended_at:
        bad = attempt.outcome in (Attempt.Outcome.FAILED, Attempt.Outcome.LEASE_LOST)
        moments.append(Moment(attempt.ended_at, f"{what} ended", f"{attempt.outcome}", bad))
    return moments


def _of_usage(entry: UsageEntry, name: str) -> list[Moment]:
    moments = [Moment(entry.created_at, f"{name}: hold", f"{entry.reserved_seconds} s, as it was last set")]
    if entry.settled_at:
        amount = money(entry.amount_micros, entry.currency)
        moments.append(Moment(entry.settled_at, f"{name}: charge", f"{entry.billed_seconds} s, {amount}"))
    return moments
