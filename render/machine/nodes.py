"""The rows of nodes: what this machine reports about itself, and which machines can work."""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from render.engines.base import EngineStatus
from render.machine import disk_room
from render.models import Node
from render.queue import tickets

logger = logging.getLogger(__name__)

REST_SECONDS = 30
MISSED_CHECKS = 3  # of the watchdog, in a row, after which a node counts as dead
RESTS = Q(rests_until__gt=Now())


def heartbeat(queue: str) -> Node:
    """Return this machine's node for a queue, with the time of this call; it is created by the first one."""
    node, _ = Node.objects.update_or_create(name=settings.NODE_NAME, queue=queue, defaults={"heartbeat_at": Now()})
    return node


def record_model(node: Node, engines: Mapping[str, EngineStatus]) -> None:
    """Store what the node's model server reports, if there is one and something has changed."""
    for status in engines.values():
        known = (node.gpu, node.memory_plan)
        facts = known if status.model_state == "down" else (status.gpu, status.memory_plan)
        if status.model_state and (node.model_state, *known) != (status.model_state, *facts):
            node.model_state, (node.gpu, node.memory_plan) = status.model_state, facts
            node.save(update_fields=["model_state", "gpu", "memory_plan"])
        if status.model_state:
            _record_unloadable(node, status)


def _record_unloadable(node: Node, status: EngineStatus) -> None:
    # A server that does not answer may come back with good files, so its last report is dropped.
    unloadable = dict(status.unloadable)
    since: dict[str, float] = {name: node.unloadable_since.get(name, 0.0) for name in unloadable}
    if status.model_state in ("down", "loading"):  # Kept, in case the same fault is there after a restart.
        since = {**node.unloadable_since, **since}
    if (node.unloadable, node.unloadable_since) == (unloadable, since):
        return
    now = _database_time().timestamp()
    node.unloadable = unloadable
    node.unloadable_since = {name: moment or now for name, moment in since.items()}
    node.save(update_fields=["unloadable", "unloadable_since"])


def can_work(node: Node) -> bool:
    """Whether this machine has room on its disk and no rest to keep. Updates its row. node: fresh from `heartbeat`."""
    if fault := disk_room.fault():
        _record_fault(node.pk, fault)
        return False
    return not node.fault or _end_fault(node)


def rest(node_id: int, fault: str) -> None:
    """Take no work for REST_SECONDS, after a fault in the middle of a render.

    Without this rest the machine would go on at once: the render's files are gone, so the disk seems to have room.
    """
    _record_fault(node_id, fault)
    Node.objects.filter(pk=node_id).update(rests_until=Now() + timedelta(seconds=REST_SECONDS))


def _record_fault(node_id: int, fault: str) -> None:
    """Store a fault in the node's row. The log gets one line, when the fault begins."""
    fault = fault[: Node._meta.get_field("fault").max_length]
    rows = Node.objects.filter(pk=node_id)
    if rows.filter(fault="").update(fault=fault, fault_since=Now()):
        logger.error("This node takes no work: %s", fault)
    else:
        rows.exclude(fault=fault).update(fault=fault)


def _end_fault(node: Node) -> bool:
    """Clear the node's fault, unless it still rests; return whether it can work."""
    rows = Node.objects.filter(pk=node.pk)
    if rows.filter(RESTS).exists():
        return False
    if rows.exclude(fault="").update(fault="", fault_since=None, rests_until=None):
        logger.info("This node takes work again; it could not because of: %s", node.fault)
        tickets.top_up(node.queue)
    return True


def alive() -> QuerySet[Node]:
    lately = Now() - timedelta(seconds=MISSED_CHECKS * settings.CANARY_SECONDS)
    return Node.objects.filter(Q(heartbeat_at__gte=lately) | Q(canary_at__gte=lately))


def unloadable_everywhere(queue: str) -> dict[str, str]:
    """Variants of the model that no living machine of a queue has been able to load for MODEL_FILES_PATIENCE_SECONDS,
    with what each machine reports about the variant, one a line.

    A machine that reports nothing about a variant can load it.
    """
    machines = list(alive().filter(queue=queue).order_by("name"))
    if not any(node.unloadable for node in machines):
        return {}
    latest = _database_time().timestamp() - settings.MODEL_FILES_PATIENCE_SECONDS
    variants = set.intersection(*(_unloadable_since(node, latest) for node in machines))
    return {name: "\n".join(f"{node.name}: {node.unloadable[name]}" for node in machines) for name in variants}


def _unloadable_since(node: Node, latest: float) -> set[str]:
    """The variants that the node cannot load since `latest`, in Unix seconds, or before."""
    return {name for name in node.unloadable if node.unloadable_since[name] <= latest}


def _database_time() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        moment: datetime = cursor.fetchone()[0]
    return moment


def others_can_work(queue: str) -> QuerySet[Node]:
    """The other machines of a queue that live and take work."""
    return alive().filter(queue=queue, draining=False, fault="").exclude(name=settings.NODE_NAME)
