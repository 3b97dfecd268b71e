"""What a render has left in the media storages, and its removal, once it has ended."""

from typing import cast

from django.db.models import TextField
from django.db.models.functions import Cast, Now

from render.models import Render, Segment
from render.sources import Sources, keys_of
from render.storage import media


def delete_films(render: Render) -> int:
    """Delete the film and the poster, those of broken-off uploads too; return how many files. Raises StorageFailure."""
    number = media.delete_folder(media.folder_of(render)) if render.attempt else 0
    Render.objects.filter(pk=render.pk).update(video_key="", poster_key="", films_deleted_at=Now())
    return number


def delete_work(render: Render) -> int:
    """Delete the sources, segments and checkpoints; return how many files. The bill stays as it is.

    Not before the renders that have taken segments over from this one have ended, too. Raises StorageFailure.
    """
    number = 0
    if render.attempt:
        number = media.delete_folder(media.WORK + media.folder_of(render))
        number += _delete_shared_sources(render)
    Segment.objects.filter(render=render).delete()
    Render.objects.filter(pk=render.pk).update(sources=None, work_deleted_at=Now())
    return number


def _delete_shared_sources(render: Render) -> int:
    """Renders once shared the sources of their tenant; none has been added since that any could wait for."""
    shared = f"{media.WORK}{render.tenant_id}/{media.SOURCES}/"
    number = 0
    for key in keys_of(cast(Sources, render.sources)) if render.sources else ():
        if key.startswith(shared):
            named = Render.objects.filter(tenant=render.tenant_id).annotate(named=Cast("sources", TextField()))
            if not named.filter(named__contains=key).exclude(pk=render.pk).exists():
                media.storage_of(key).delete(key)
                number += 1
    return number
