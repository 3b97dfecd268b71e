"""Everything that writes a project or a take, but its deletion: create, finalize, retry, cancel.

The way of `POST /projects` from top to bottom is `create_project`: the project is saved, then the render with its hold
and its ticket (`render.lifecycle.submission`), then the take. The render's first state records the webhook event
(`projects.webhooks.outbox`), once and in the same transaction. A refused hold undoes all of it.
"""

import secrets
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from accounts.errors import ServiceError
from accounts.models import ApiKey, Tenant, UsageEntry
from projects import forecast
from projects.assets import references
from projects.models import MAX_TAKES, Project, Take
from projects.webhooks import outbox
from render.engines import registry
from render.lifecycle import submission, transitions
from render.models import Render, State
from render.parameters import MAX_SEED, Parameters


@dataclass(frozen=True)
class NewProject:
    """What `create_project` has saved."""

    take: Take  # With its project and its render.
    hold: UsageEntry
    has_true_length: bool  # Whether the hold is as long as the video; else it is set when the render is prepared.


@transaction.atomic
def create_project(project: Project, *, test_scenario: str = "") -> NewProject:
    """Save a new project with its first take and its queued render. A seed is drawn if none was given.

    Raises ServiceError as `references.resolve` and `submission.submit` do.
    """
    project.parameters.setdefault("seed", secrets.randbelow(MAX_SEED + 1))
    engine = _engine_of(project)
    sources = references.resolve(project)
    parameters = Parameters.resolve(project.parameters | {"background": references.background_of(project)})
    foreseen = forecast.foresee(project, sources, parameters, engine)
    parameters = foreseen.parameters
    project.save(force_insert=True)
    render = Render(
        tenant=project.tenant,
        engine=engine,
        image_url=sources.image,
        audio_url=sources.voice,
        audio_url_2=sources.second_voice,
        audio_order=project.audio_order,
        speakers=project.speakers,
        script=project.script,
        prompt=project.prompt or "",
        parameters=parameters.as_json(),
        frame=foreseen.frame,
        test_scenario=test_scenario,
    )
    kind = Take.Kind.FINAL if engine == settings.FINAL_ENGINE else Take.Kind.DRAFT
    # Before the render is saved: the outbox finds its project by it.
    take = Take(project=project, number=1, kind=kind, render=render)
    if project.webhook_url:
        outbox.ensure_project_url_endpoint(project)
    seconds = None if parameters.length == "video" else sources.seconds
    hold = submission.submit(
        render,
        api_key=project.api_key,
        is_test=project.is_test,
        user_label=project.user_id,
        voice_seconds=seconds,
        deadlines=_deadlines(project),
    )
    take.save(force_insert=True)
    return NewProject(take, hold, "frame_num" in project.parameters or seconds is not None)


def _deadlines(project: Project) -> submission.Deadlines:
    """Of each of its takes."""
    return submission.Deadlines(
        start_seconds=project.start_deadline_seconds, total_seconds=project.total_deadline_seconds
    )


def _engine_of(project: Project) -> str:
    """The engine of the first take. A test key gets the test engine, with a warning if it has named another one."""
    engine: str = project.parameters.get("engine", settings.DEFAULT_ENGINE)
    if not project.is_test or engine == settings.TEST_ENGINE:
        return engine
    registry.require_known(engine)
    test_engine: str = settings.TEST_ENGINE
    if "engine" in project.parameters:
        detail = f"A test key renders with {test_engine}, not with {engine}."
        project.warnings.append({"param": "parameters.engine", "code": "test_key_renders_drafts", "detail": detail})
    return test_engine


@transaction.atomic
def finalize(project: Project, api_key: ApiKey) -> Take:
    """Render the latest finished draft again on the final engine: same inputs, parameters and seed.

    Raises ServiceError `invalid_state` when there is no finished draft, or a final take already; `not_found` when the
    project was deleted meanwhile; `too_many_takes`; and what `submission.submit` raises.
    """
    engine = settings.TEST_ENGINE if project.is_test else settings.FINAL_ENGINE
    registry.require(engine)
    _lock(project)
    takes = Take.objects.filter(project=project).select_related("render").order_by("-number")
    final = takes.filter(~Q(render__state__in=[State.FAILED, State.CANCELED]), kind=Take.Kind.FINAL).first()
    if final is not None:
        raise ServiceError("invalid_state", f"The project has a final render already, it is {final.render.state}.")
    draft = takes.filter(kind=Take.Kind.DRAFT, render__state=State.FINISHED).first()
    if draft is None:
        raise ServiceError("invalid_state", "The project has no finished draft.")
    registry.require_background(engine, Parameters.resolve(draft.render.parameters).background)
    return _add_take(project, draft, kind=Take.Kind.FINAL, engine=engine, api_key=api_key)


@transaction.atomic
def retry(project: Project, api_key: ApiKey | None) -> Take:
    """Render the latest take again after it has failed or was canceled: same engine, inputs, parameters and seed.

    The new render goes on from what the old one has prepared and rendered. api_key: None for support staff.

    Raises ServiceError `invalid_state` in any other state; `not_found` when the project was deleted meanwhile;
    `too_many_takes`; and what `submission.submit` raises.
    """
    _lock(project)
    latest = Take.objects.filter(project=project).select_related("render").order_by("-number")[0]
    render = latest.render
    if render.state not in (State.FAILED, State.CANCELED):
        detail = f"Only a render that has failed or was canceled can be tried again; the latest is {render.state}."
        raise ServiceError("invalid_state", detail)
    continues = render if _has_usable_work(render) else None
    return _add_take(project, latest, kind=latest.kind, engine=render.engine, api_key=api_key, continues=continues)


def cancel(project: Project) -> Render:
    """Cancel the latest take, whose worker may need a while to stop. Raises ServiceError `invalid_state`."""
    return transitions.request_cancel(project.takes.order_by("-number")[0].render)


def _lock(project: Project) -> None:
    """Lock the tenant, then the project: in the order in which a worker locks them when it sets the price."""
    Tenant.objects.select_for_update(no_key=True).get(pk=project.tenant_id)
    if not Project.objects.select_for_update(no_key=True).filter(pk=project.pk, deleted_at=None).exists():
        raise ServiceError("not_found", "There is no such project.")


def _has_usable_work(render: Render) -> bool:
    """Whether a new render of the same inputs can go on from what this one has left.

    It cannot when the work was lost or deleted (there are no `sources` then), or when a file of the customer's was at
    fault, which may have been replaced at its address. Nor when an unknown error came before the render's own first
    segment: the cause may lie in what it began with.
    """
    if not render.sources or render.error_param:
        return False
    return render.error_code != "internal" or render.segments.filter(attempt__gt=0).exists()


def _add_take(
    project: Project,
    like: Take,
    *,
    kind: str,
    engine: str,
    api_key: ApiKey | None,
    continues: Render | None = None,
) -> Take:
    """A new take with the inputs of another one. The caller has locked tenant and project."""
    number = Take.objects.filter(project=project).order_by("-number").values_list("number", flat=True)[0] + 1
    if number > MAX_TAKES:
        raise ServiceError("too_many_takes", f"The project has {MAX_TAKES} takes, which is the most; make a new one.")
    speech = references.source_of_speech(project) if like.render.script else ""
    render = Render(
        tenant=project.tenant,
        engine=engine,
        image_url=like.render.image_url,
        audio_url=speech or like.render.audio_url,
        audio_url_2=like.render.audio_url_2,
        audio_order=like.render.audio_order,
        speakers=like.render.speakers,
        script=None if speech else like.render.script,
        prompt=like.render.prompt,
        parameters=Parameters.resolve(like.render.parameters).as_json(),
        frame=like.render.frame,
    )
    take = Take(project=project, number=number, kind=kind, render=render)
    submission.submit(
        render,
        api_key=api_key,
        is_test=project.is_test,
        user_label=project.user_id,
        continues=continues,
        deadlines=_deadlines(project),
    )
    take.save(force_insert=True)
    Project.objects.filter(pk=project.pk).update(updated_at=Now())
    return take
