"""What a render leaves in the media storage, and its removal. Sources are shared in the tenant and stay."""

from render import objects
from render.models import Render


def delete_outputs(render: Render) -> None:
    """Delete the film, the poster and the segments of a render that has ended. The rows stay, for the bill."""
    keys = [render.video_key, render.poster_key]
    for segment in render.segments.all():
        keys += [segment.key, segment.state_key]
    for key in filter(None, keys):
        objects.storage_of(key).delete(key)
