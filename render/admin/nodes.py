"""The pages of nodes, for support staff: what each node does, and the actions to drain it."""

from django.contrib import admin, messages
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils.timesince import timesince

from accounts.admin.base import ReadOnlyAdmin
from render.models import Node, State


@admin.register(Node)
class NodeAdmin(ReadOnlyAdmin):
    # fmt: off
    list_display = [
        "name", "queue", "work", "fault", "model_state", "gpu", "memory_plan", "last_seen", "running", "created_at",
    ]
    # fmt: on
    list_filter = ["queue", "draining", "model_state"]
    search_fields = ["name"]
    date_hierarchy = "created_at"
    ordering = ["-heartbeat_at"]
    # fmt: off
    fields = [
        "name", "queue", "work", "fault", "fault_since", "rests_until", "model_state", "gpu", "memory_plan",
        "bad_files", "running", "last_seen", "heartbeat_at", "canary_at", "created_at",
    ]
    # fmt: on
    actions = ["drain", "undrain"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Node]:
        running = Count("renders", filter=Q(renders__state=State.RUNNING))
        nodes: QuerySet[Node] = super().get_queryset(request)
        return nodes.annotate(running=running)

    def has_drain_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("render.change_node")

    def buttons(self, obj: Node) -> dict[str, str]:
        return {"undrain": "Undrain"} if obj.draining else {"drain": "Drain"}

    @admin.display(ordering="draining")
    def work(self, node: Node) -> str:
        if node.draining:
            return "draining"
        if node.fault:
            return "cannot work"
        return f"takes renders, but not {', '.join(sorted(node.unloadable))}" if node.unloadable else "takes renders"

    @admin.display(empty_value="none")
    def bad_files(self, node: Node) -> str | None:
        """One line for each reason, with the variants of the model that cannot be loaded because of it."""
        variants: dict[str, list[str]] = {}
        for variant, reason in sorted(node.unloadable.items()):
            variants.setdefault(reason, []).append(variant)
        return "\n".join(f"{reason} ({', '.join(names)})" for reason, names in variants.items()) or None

    @admin.display(ordering="running")
    def running(self, node: Node) -> int:
        number: int = node.running  # type: ignore[attr-defined]
        return number

    @admin.display(ordering="heartbeat_at")
    def last_seen(self, node: Node) -> str:
        return f"{timesince(node.heartbeat_at)} ago"

    @admin.action(description="Drain selected nodes: no new render, hand back the current one", permissions=["drain"])
    def drain(self, request: HttpRequest, queryset: QuerySet[Node]) -> None:
        self._set_draining(request, queryset, True, "drains")

    @admin.action(description="Undrain selected nodes: take renders again", permissions=["drain"])
    def undrain(self, request: HttpRequest, queryset: QuerySet[Node]) -> None:
        self._set_draining(request, queryset, False, "takes renders again")

    def _set_draining(self, request: HttpRequest, nodes: QuerySet[Node], draining: bool, result: str) -> None:
        for node in nodes.filter(draining=not draining):
            Node.objects.filter(pk=node.pk).update(draining=draining)
            self.log_change(request, node, f"It {result}.")
            self.message_user(request, f"Node {node} {result}.", messages.SUCCESS)
