"""This machine's row among the nodes."""

from collections.abc import Mapping

from django.conf import settings
from django.db.models.functions import Now

from render.engines.base import EngineStatus
from render.models import Node


def beat(queue: str) -> Node:
    """Find or make this machine's node for a queue and note that it lives."""
    node, _ = Node.objects.update_or_create(name=settings.NODE_NAME, queue=queue, defaults={"heartbeat_at": Now()})
    return node


def note_model(node: Node, engines: Mapping[str, EngineStatus]) -> None:
    """Write down what the node's model server says of itself, if it has one and the row says something else."""
    for status in engines.values():
        known = (node.gpu, node.memory_plan)
        facts = known if status.model_state == "down" else (status.gpu, status.memory_plan)
        if status.model_state and (node.model_state, *known) != (status.model_state, *facts):
            node.model_state, (node.gpu, node.memory_plan) = status.model_state, facts
            node.save(update_fields=["model_state", "gpu", "memory_plan"])
