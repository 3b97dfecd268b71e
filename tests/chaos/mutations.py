"""What the service relies on, taken away one at a time: the campaign must then fail, or it proves nothing."""

from collections.abc import Callable

from accounts.api import idempotency
from render import fence
from render.models import Render
from render.queue import tickets


def no_fence() -> None:
    """A worker may write whatever it holds: neither its token nor the render's state is looked at."""
    fence._held = lambda claim: Render.objects.filter(pk=claim.render_id)


def no_top_up() -> None:
    """A ticket that is lost stays lost."""
    tickets.top_up = lambda name: 0


def no_idempotency() -> None:
    """A request that is repeated is a new one."""
    idempotency._key_of = lambda request: None


IN_PROCESSES: dict[str, Callable[[], None]] = {
    "fence": no_fence,
    "top_up": no_top_up,
    "idempotency": no_idempotency,
}
# Each row that must be there once, by the database's own guard.
IN_DATABASE = {
    "unique": "ALTER TABLE accounts_usageentry DROP CONSTRAINT accounts_usageentry_render_id_key",
}
ALL = [*IN_PROCESSES, *IN_DATABASE]
