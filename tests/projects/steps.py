"""The way of a project, for tests that need one at a certain point of it."""

from typing import Any

from projects.models import Project, Take
from render.fence import Claim
from render.lifecycle import progress, transitions
from render.machine import nodes
from render.models import Render

PROJECTS = "/api/v1/projects"
NEW = {
    "title": "My Talking Avatar",
    "image_url": "https://example.com/portrait.jpg",
    "audio_url": "https://example.com/speech.mp3",
}

TWO_SEGMENTS = {"segments": [{"start": 0, "stop": 25}, {"start": 25, "stop": 50}]}  # A plan of 50 frames.
NO_SOURCES = {"portrait": None, "video": None, "voices": [], "sound": []}


def create(caller: Any, **fields: Any) -> dict[str, Any]:
    response = caller.post(PROJECTS, {**NEW, **fields}, format="json")
    assert response.status_code == 201, response.content
    return response.json()


def latest_take(project_id: str) -> Take:
    return Take.objects.select_related("render").filter(project=project_id).latest("number")


def latest_render(project_id: str) -> Render:
    return latest_take(project_id).render


def claim(queue: str = "cpu") -> Claim:
    claimed = transitions.claim_next(queue, nodes.heartbeat(queue))
    assert claimed is not None
    return claimed


def finish(claimed: Claim, *, render_seconds: float = 1.0, seconds: int = 2) -> None:
    frames = seconds * 25
    plan = {"segments": [{"start": 0, "stop": frames}]}
    progress.prepared(claimed, sources=NO_SOURCES, plan=plan, num_frames=frames, segments_total=1)
    progress.record_segment(
        claimed,
        index=0,
        key="renders/segment.mp4",
        num_bytes=1,
        frames=frames,
        state_key="",
        render_seconds=render_seconds,
        progress=90,
    )
    transitions.finish(
        claimed, video_key="renders/film.mp4", poster_key="renders/poster.jpg", duration_seconds=float(seconds)
    )


def finished_project(caller: Any, **fields: Any) -> dict[str, Any]:
    project = create(caller, **fields)
    finish(claim())
    return project


def make_projects(caller: Any, number: int, **fields: Any) -> list[Project]:
    """Many at once, past the API; all with the created_at that is given."""
    made = Project.objects.bulk_create(
        Project(tenant=caller.tenant, **{**NEW, "title": f"Project {index}", **fields}) for index in range(number)
    )
    renders = Render.objects.bulk_create(
        Render(
            tenant=caller.tenant,
            engine="draft",
            queue="cpu",
            image_url=project.image_url,
            audio_url=project.audio_url,
            parameters={"seed": 1},
        )
        for project in made
    )
    Take.objects.bulk_create(
        Take(project=project, number=1, kind=Take.Kind.DRAFT, render=render)
        for project, render in zip(made, renders, strict=True)
    )
    return made
