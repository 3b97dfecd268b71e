"""What is measured: a project of two assets is made, its status is polled, and a segment of its film is recorded."""

import uuid
from collections.abc import Iterator

from django.test import Client

from accounts.api_keys import keys
from accounts.models import Plan, Tenant
from projects.models import Asset
from render.engines.base import FPS
from render.fence import Claim
from render.lifecycle import progress, transitions
from render.machine import nodes
from tests.prices import full_prices
from tests.request_cost.meter import Cost, measured

PROJECTS = "/api/v1/projects"
VIEW = "projects/api/views.py"  # What comes before the view is the same for all requests: middleware, key and rate.


def costs() -> Iterator[tuple[str, Cost]]:
    """Each subject with its cost. Each is done once before, so that what is kept in memory is there."""
    plan = Plan.objects.create(name="Cost", prices=full_prices(), creates_per_minute=100, requests_per_minute=100)
    tenant = Tenant.objects.create(name="Cost", plan=plan)
    client = Client(headers={"X-API-Key": keys.issue(tenant, name="cost")[1]})
    body = {
        "title": "Cost",
        "image_url": f"asset:{_asset(tenant, Asset.Kind.IMAGE, {'faces': []})}",
        "audio_url": f"asset:{_asset(tenant, Asset.Kind.AUDIO, {'duration_seconds': 4.0})}",
    }
    _create(client, body)
    with measured(below=VIEW) as cost:
        project_id = _create(client, body)
    yield "POST /projects", cost

    _poll(client, project_id)
    with measured(below=VIEW) as cost:
        _poll(client, project_id)
    yield "GET /projects/{id}/status", cost

    claim = _prepared()
    _record(claim, 0)
    with measured() as cost:
        _record(claim, 1)
    yield "a recorded segment", cost


def _asset(tenant: Tenant, kind: str, facts: dict[str, object]) -> uuid.UUID:
    asset = Asset.objects.create(
        tenant=tenant,
        filename="file",
        content_type="application/octet-stream",
        num_bytes=1,
        sha256="0" * 64,
        key=f"{tenant.pk}/assets/{uuid.uuid4()}",
        state=Asset.State.READY,
        kind=kind,
        facts=facts,
    )
    return asset.pk


def _create(client: Client, body: dict[str, str]) -> str:
    response = client.post(PROJECTS, body, content_type="application/json")
    assert response.status_code == 201, response.content
    project_id: str = response.json()["id"]
    return project_id


def _poll(client: Client, project_id: str) -> None:
    response = client.get(f"{PROJECTS}/{project_id}/status")
    assert response.status_code == 200, response.content


def _prepared() -> Claim:
    claim = transitions.claim_next("cpu", nodes.heartbeat("cpu"))
    assert claim is not None
    sources = {"portrait": None, "video": None, "voices": [], "sound": []}
    plan = {"width": 64, "height": 64, "num_frames": 4 * FPS, "segments": []}
    progress.prepared(claim, sources=sources, plan=plan, num_frames=4 * FPS, segments_total=4)
    return claim


def _record(claim: Claim, index: int) -> None:
    progress.record_segment(
        claim,
        index=index,
        key=f"renders/segment-{index}.ts",
        num_bytes=1,
        frames=FPS,
        state_key="",
        render_seconds=1.0,
        progress=progress.of_rendering((index + 1) / 4),
    )
