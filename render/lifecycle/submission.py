"""How a render comes to be. What becomes of it then: `render.lifecycle.transitions`."""

import uuid
from math import ceil

from django.db import transaction

from accounts.billing import quota
from accounts.errors import ServiceError
from accounts.models import ApiKey, Tenant
from render.engines import registry
from render.engines.base import FPS
from render.fence import announce
from render.lifecycle import progress
from render.lifecycle.transitions import COMMON_QUEUE
from render.models import Phase, Render, Segment, State
from render.parameters import Parameters
from render.queue import tickets
from render.speech.registry import Script


@transaction.atomic
def enqueue(
    *,
    tenant: Tenant,
    api_key: ApiKey | None,
    is_test: bool,
    engine: str,
    image_url: str,
    audio_url: str,
    script: Script | None = None,
    audio_url_2: str = "",
    audio_order: str = "left_right",
    prompt: str = "",
    parameters: Parameters,
    user_label: str = "",
    test_scenario: str = "",
    continues: Render | None = None,
    voice_seconds: float | None = None,
) -> Render:
    """Make a queued render, its hold and its ticket.

    continues: one of the same inputs and parameters that has ended; what it has prepared and rendered is taken over.
    voice_seconds: of the film, if the voices are known already; the hold is then right from the start.
    Raises ServiceError `engine_unavailable`, `quota_exceeded`, `spend_cap_reached` or `queue_full`.
    """
    registry.require(engine)
    render_id = uuid.uuid4()
    known_frames = continues.num_frames if continues else parameters.frame_num
    known_seconds = known_frames / FPS if known_frames else voice_seconds
    quota.hold(
        tenant,
        render_id=render_id,
        api_key=api_key,
        is_test=is_test,
        engine=engine,
        resolution=parameters.resolution,
        user_label=user_label,
        seconds=ceil(known_seconds) if known_seconds else quota.MINIMUM_HOLD_SECONDS,
    )
    # The hold has locked the tenant, so this count cannot be overtaken.
    if Render.objects.filter(tenant=tenant, state=State.QUEUED).count() >= tenant.plan.max_queued:
        raise ServiceError("queue_full", f"{tenant.plan.max_queued} renders are waiting already.")
    render = Render.objects.create(
        id=render_id,
        tenant=tenant,
        engine=engine,
        queue=COMMON_QUEUE,
        image_url=image_url,
        audio_url=audio_url,
        script=script,
        audio_url_2=audio_url_2,
        audio_order=audio_order,
        prompt=prompt,
        parameters=parameters.as_json(),
        test_scenario=test_scenario,
    )
    if continues is not None:
        _take_over(render, continues)
    tickets.add_ticket(COMMON_QUEUE)
    announce(render)
    return render


def _take_over(render: Render, ended: Render) -> None:
    """The segments move: one row names each stored file. The files stay where they are until both may be deleted."""
    for name in ("sources", "warnings", "plan", "num_frames", "segments_total", "variant"):
        setattr(render, name, getattr(ended, name))
    moved = Segment.objects.filter(render=ended).update(render=render, attempt=0)
    assert ended.segments_total is not None
    render.phase = Phase.WAITING if moved < ended.segments_total else Phase.ASSEMBLING
    render.progress = progress.of_rendering(moved / ended.segments_total)
    render.save()
