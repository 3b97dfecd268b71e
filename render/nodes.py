"""This machine's row among the nodes."""

from django.conf import settings
from django.db.models.functions import Now

from render.models import Node


def beat(queue: str) -> Node:
    """Find or make this machine's node for a queue and note that it lives."""
    node, _ = Node.objects.update_or_create(name=settings.NODE_NAME, queue=queue, defaults={"heartbeat_at": Now()})
    return node
