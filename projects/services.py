"""Everything that writes a project or a take, but its deletion: create, finalize, retry, cancel."""

import secrets

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from accounts.errors import ServiceError
from accounts.models import ApiKey, Tenant
from projects.assets import references
from projects.models import MAX_TAKES, Project, Take
from projects.webhooks import outbox
from render.engines import registry
from render.lifecycle import submission, transitions
from render.models import Render, State
from render.parameters import MAX_SEED, Parameters


@transaction.atomic
def create_project(project: Project, *, test_scenario: str = "") -> None:
    """Save a new project, which draws its seed if none was given, with its first take."""
    project.parameters.setdefault("seed", secrets.randbelow(MAX_SEED + 1))
    engine = project.parameters.get("engine", settings.DEFAULT_ENGINE)
    if project.is_test and engine != settings.TEST_ENGINE:
        registry.require_known(engine)
        if "engine" in project.parameters:
            detail = f"A test key renders with {settings.TEST_ENGINE}, not with {engine}."
            warning = {"param": "parameters.engine", "code": "test_key_renders_drafts", "detail": detail}
            project.warnings.append(warning)
        engine = settings.TEST_ENGINE
    sources = references.resolve(project)
    # First, because this is what may be refused.
    render = submission.enqueue(
        tenant=project.tenant,
        api_key=project.api_key,
        is_test=project.is_test,
        engine=engine,
        image_url=sources.image,
        audio_url=sources.voice,
        script=project.script,
        audio_url_2=sources.second_voice,
        audio_order=project.audio_order,
        prompt=project.prompt or "",
        parameters=Parameters.resolve(project.parameters),
        user_label=project.user_id,
        test_scenario=test_scenario,
        voice_seconds=sources.seconds,
    )
    project.save(force_insert=True)
    kind = Take.Kind.FINAL if engine == settings.FINAL_ENGINE else Take.Kind.DRAFT
    Take.objects.create(project=project, number=1, kind=kind, render=render)
    if project.webhook_url:
        outbox.tell_at_projects_own(project)
    outbox.note(render)


@transaction.atomic
def finalize(project: Project, api_key: ApiKey) -> Take:
    """Render the latest finished draft again on the final engine: same inputs, parameters and seed.

    Raises ServiceError `invalid_state` without such a draft or with a final already, `not_found` when it was deleted
    meanwhile, `too_many_takes`, and what `submission.enqueue` raises.
    """
    engine = settings.TEST_ENGINE if project.is_test else settings.FINAL_ENGINE
    registry.require(engine)
    # The tenant before the project, as a worker locks them when it sets the price.
    Tenant.objects.select_for_update(no_key=True).get(pk=project.tenant_id)
    if not Project.objects.select_for_update(no_key=True).filter(pk=project.pk, deleted_at=None).exists():
        raise ServiceError("not_found", "There is no such project.")
    takes = Take.objects.filter(project=project).select_related("render").order_by("-number")
    in_the_way = takes.filter(~Q(render__state__in=[State.FAILED, State.CANCELED]), kind=Take.Kind.FINAL).first()
    if in_the_way is not None:
        raise ServiceError("invalid_state", f"The project has a final render already, it is {in_the_way.render.state}.")
    draft = takes.filter(kind=Take.Kind.DRAFT, render__state=State.FINISHED).first()
    if draft is None:
        raise ServiceError("invalid_state", "The project has no finished draft.")
    return _add_take(project, draft, kind=Take.Kind.FINAL, engine=engine, api_key=api_key)


@transaction.atomic
def retry(project: Project, api_key: ApiKey | None) -> Take:
    """Render the latest take again, after it has failed or was canceled: same engine, inputs, parameters and seed.

    It goes on from what that one has prepared and rendered.

    Raises ServiceError `invalid_state` in any other state, `not_found` when the project was deleted meanwhile,
    `too_many_takes`, and what `submission.enqueue` raises.
    """
    Tenant.objects.select_for_update(no_key=True).get(pk=project.tenant_id)
    if not Project.objects.select_for_update(no_key=True).filter(pk=project.pk, deleted_at=None).exists():
        raise ServiceError("not_found", "There is no such project.")
    latest = Take.objects.filter(project=project).select_related("render").order_by("-number")[0]
    if latest.render.state not in (State.FAILED, State.CANCELED):
        detail = (
            f"Only a render that has failed or was canceled can be tried again; the latest is {latest.render.state}."
        )
        raise ServiceError("invalid_state", detail)

    render = latest.render
    continues = render if _has_sound_work(render) else None
    return _add_take(project, latest, kind=latest.kind, engine=render.engine, api_key=api_key, continues=continues)


def _has_sound_work(render: Render) -> bool:
    """Whether another render of the same can go on from what this one has left.

    What was lost, or deleted after its time, has no `sources` any more. A file of the customer's that was at fault may
    have been replaced at its address. And where an unknown error came before this render had a segment of its own, the
    cause may lie in what it began with.
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
    """The tenant and the project are locked. Raises what `submission.enqueue` raises, and `too_many_takes`."""
    number = Take.objects.filter(project=project).order_by("-number").values_list("number", flat=True)[0] + 1
    if number > MAX_TAKES:
        raise ServiceError("too_many_takes", f"The project has {MAX_TAKES} takes, which is the most; make a new one.")
    spoken = references.source_of_speech(project) if like.render.script else ""
    render = submission.enqueue(
        tenant=project.tenant,
        api_key=api_key,
        is_test=project.is_test,
        engine=engine,
        image_url=like.render.image_url,
        audio_url=spoken or like.render.audio_url,
        script=None if spoken else like.render.script,
        audio_url_2=like.render.audio_url_2,
        audio_order=like.render.audio_order,
        prompt=like.render.prompt,
        parameters=Parameters.resolve(like.render.parameters),
        user_label=project.user_id,
        continues=continues,
    )
    take = Take.objects.create(project=project, number=number, kind=kind, render=render)
    outbox.note(render)
    Project.objects.filter(pk=project.pk).update(updated_at=Now())
    return take


def cancel(project: Project) -> Render:
    """Cancel the latest take; it may be running for a while still. Raises ServiceError `invalid_state`."""
    return transitions.request_cancel(project.takes.order_by("-number")[0].render)
