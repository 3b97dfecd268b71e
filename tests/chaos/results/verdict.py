"""What must hold after the campaign, whatever has happened in it."""

import hashlib
from collections import Counter
from pathlib import Path

from django.db.models import Count

from creatorify.operations import invariants
from projects.models import Project
from projects.models.webhooks import WebhookEvent
from render.models import Attempt, Render, Segment, State
from tests.chaos.campaign import Story
from tests.chaos.stage import Stage

MOST_WASTE = 0.02
ENDS = ("project.finished", "project.failed", "project.canceled")


def findings(stage: Stage, story: Story, *, renders: int) -> list[str]:
    """Everything that is not as it must be."""
    return [
        *story.violations[:20],
        *([] if story.ended else ["not all renders have ended"]),
        *([] if story.all_told else ["not all ends were told"]),
        *[f"{found.invariant.name}: {violation}" for found in invariants.check() for violation in found.violations],
        *_each_once(story, renders),
        *_as_asked(story),
        *_attempts(),
        *_films(stage),
        *_messages(story),
        *([f"{waste(stage):.2%} of the segments were rendered twice"] if waste(stage) > MOST_WASTE else []),
    ]


def summary(stage: Stage, story: Story) -> dict[str, object]:
    """The figures of one run."""
    states = Counter(Render.objects.values_list("state", flat=True))
    outcomes = Counter(Attempt.objects.values_list("outcome", flat=True))
    resumed = Render.objects.annotate(by=Count("segments__attempt", distinct=True)).filter(by__gt=1).count()
    return {
        "seed": story.seed,
        "finished": states[State.FINISHED],
        "canceled": states[State.CANCELED],
        "failed": states[State.FAILED],
        "faults": sum(story.faults.values()),
        "reaped": outcomes[Attempt.Outcome.LEASE_LOST],
        "resumed": resumed,
        "waste": round(waste(stage), 4),
        "requests_repeated": sum(number for status, number in story.answers.items() if status in (0, 500, 502, 503)),
        "messages": len({message for message, _ in story.receiver.got}),
        "message_tries": sum(story.receiver.tries.values()),
        "seconds": round(story.seconds),
    }


def waste(stage: Stage) -> float:
    """The share of the segments rendered that had been rendered before."""
    lines = (stage.folder / "history").read_text().splitlines()
    made = Counter(tuple(line.split()[::2]) for line in lines)
    return (made.total() - len(made)) / made.total()


def _each_once(story: Story, renders: int) -> list[str]:
    doubled = [f"the key {key} made the projects {ids}" for key, ids in story.projects.items() if len(ids) != 1]
    numbers = {"keys": len(story.projects), "projects": Project.objects.count(), "renders": Render.objects.count()}
    return doubled + [f"{number} {name} of {renders}" for name, number in numbers.items() if number != renders]


def _as_asked(story: Story) -> list[str]:
    """What was canceled is, and nothing else: nothing that the campaign does makes a render fail."""
    expected = dict.fromkeys(story.canceled, State.CANCELED)
    return [
        f"{project} is {state}, error {error!r}"
        for project, state, error in Render.objects.values_list("take__project", "state", "error_code")
        if state != expected.get(str(project), State.FINISHED)
    ]


def _attempts() -> list[str]:
    """Workers die or are fenced; none of them does anything that the database has to refuse."""
    failed = Attempt.objects.filter(outcome=Attempt.Outcome.FAILED)
    return [
        f"attempt {number} of {render} failed: {trace.splitlines()[-1] if trace else 'no trace'}"
        for number, render, trace in failed.values_list("number", "render", "render__error_trace")
    ]


def _films(stage: Stage) -> list[str]:
    """All are made from the same: however often a film was interrupted, it has the same bytes."""
    media = stage.folder / "media"
    finished = Render.objects.filter(state=State.FINISHED)
    keys = [*finished.values_list("video_key", flat=True)]
    hashes = Counter(key.removesuffix(".mp4")[-64:] for key in keys)
    found = [f"{len(hashes)} different videos: {hashes.most_common(3)}"] if len(hashes) > 1 else []
    keys += Segment.objects.filter(render__in=finished).values_list("key", flat=True)
    return found + [f"{key} is missing or damaged" for key in keys if not _is_whole(media / key)]


def _is_whole(path: Path) -> bool:
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == path.stem[-64:]


def _messages(story: Story) -> list[str]:
    """Each end is told to the tenant as one message, however often that is sent."""
    got = list(story.receiver.got)
    told = Counter(body["data"]["id"] for body in dict(got).values())
    found = [f"project {project} was told of in {number} messages" for project, number in told.items() if number != 1]
    if story.receiver.rejected:
        found.append(f"{story.receiver.rejected} messages have no good signature")
    events = WebhookEvent.objects.filter(type__in=ENDS).count()
    return found + ([f"{events} ends are noted, {len(told)} were told"] if events != len(told) else [])
