"""Removal of what a render that has ended has left in the media storages."""

from django.db.models.functions import Now

from render.models import Render, Segment
from render.storage import media


def delete_videos(render: Render) -> int:
    """Delete the videos and the poster, also of interrupted uploads; return how many files. Raises StorageFailure."""
    number = media.delete_folder(media.folder_of(render)) if render.attempt else 0
    Render.objects.filter(pk=render.pk).update(video_key="", poster_key="", alpha_key="", films_deleted_at=Now())
    return number


def delete_work(render: Render) -> int:
    """Delete the sources, segments and checkpoints; return how many files. The charge stays. Raises StorageFailure.

    A render may use the segments of an earlier one (`Segment.attempt` 0), so both must have ended.
    """
    number = media.delete_folder(media.WORK + media.folder_of(render)) if render.attempt else 0
    Segment.objects.filter(render=render).delete()
    Render.objects.filter(pk=render.pk).update(sources=None, work_deleted_at=Now())
    return number
