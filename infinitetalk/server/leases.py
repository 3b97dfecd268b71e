"""Permission to use the GPU: for one attempt at a render, as long as its worker extends the lease.

An attempt's number is the fencing token: it grows with each claim of the render, and only the newest may render.
"""

import threading
import time
from collections import OrderedDict

from infinitetalk.errors import InfiniteTalkError

REMEMBERED_TOKENS = 10_000  # renders whose highest attempt is remembered


class StaleToken(InfiniteTalkError):
    """A newer attempt at the render has begun."""


class Aborted(Exception):
    """Raised inside a render to end it: no client waits for its frames any more."""


class Lease:
    """The lease of one attempt at a render. Its methods may be called from any thread."""

    def __init__(self, render_id: str, attempt: int, lease_seconds: float) -> None:
        self.render_id = render_id
        self.attempt = attempt
        self._aborted = threading.Event()
        self._reason = ""
        self.extend(lease_seconds)

    def extend(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    def abort(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._aborted.set()

    def check(self) -> None:
        """Raises Aborted when the lease has ended. Call it before each denoising step."""
        if time.monotonic() > self._deadline:  # The worker is dead or frozen, or has lost the render.
            self.abort("not extended in time")
        if self._aborted.is_set():
            raise Aborted(self._reason)


class Leases:
    """The leases of all running and waiting attempts; the GPU renders one at a time."""

    def __init__(self) -> None:
        self._active: list[Lease] = []
        self._highest: OrderedDict[str, int] = OrderedDict()

    def begin(self, render_id: str, attempt: int, lease_seconds: float) -> Lease:
        """Ends every other attempt at the render. Raises StaleToken when a newer attempt has begun before."""
        if attempt < self._highest.get(render_id, attempt):
            raise StaleToken("stale_token", f"Attempt {attempt} of {render_id} is over: the render was claimed anew.")
        for lease in self._active:
            if lease.render_id == render_id:
                lease.abort("claimed anew")
        self._highest[render_id] = attempt
        self._highest.move_to_end(render_id)
        while len(self._highest) > REMEMBERED_TOKENS:
            self._highest.popitem(last=False)
        lease = Lease(render_id, attempt, lease_seconds)
        self._active.append(lease)
        return lease

    def end(self, lease: Lease) -> None:
        """Call it once, when the attempt has ended for whatever reason."""
        self._active.remove(lease)

    def find(self, render_id: str, attempt: int) -> Lease | None:
        """The lease of the attempt, if it runs or waits; of two connections for it, the newer one's lease."""
        for lease in reversed(self._active):
            if (lease.render_id, lease.attempt) == (render_id, attempt):
                return lease
        return None

    @property
    def active(self) -> int:
        """The number of attempts, the one that renders included."""
        return len(self._active)
