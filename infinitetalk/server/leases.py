"""Who may use the GPU: one render at a time, under its newest fencing token, while somebody waits for it."""

import threading
import time
from collections import OrderedDict

from infinitetalk.errors import InfiniteTalkError

REMEMBERED_TOKENS = 10_000


class StaleToken(InfiniteTalkError):
    """The render was claimed anew since."""


class Aborted(Exception):
    """The render is to end now; nobody waits for its frames."""


class Turn:
    """One attempt at a render. Its methods may be called from any thread."""

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
        """Raises Aborted. To be called before each denoising step."""
        if time.monotonic() > self._deadline:  # The worker is dead or frozen, or lost its lease.
            self.abort("not extended in time")
        if self._aborted.is_set():
            raise Aborted(self._reason)


class Turns:
    """All attempts that are under way: one renders, the others wait for it."""

    def __init__(self) -> None:
        self._under_way: list[Turn] = []
        self._highest: OrderedDict[str, int] = OrderedDict()

    def begin(self, render_id: str, attempt: int, lease_seconds: float) -> Turn:
        """Ends any other attempt at the render. Raises StaleToken."""
        if attempt < self._highest.get(render_id, attempt):
            raise StaleToken("stale_token", f"Attempt {attempt} of {render_id} is over: the render was claimed anew.")
        for turn in self._under_way:
            if turn.render_id == render_id:
                turn.abort("claimed anew")
        self._highest[render_id] = attempt
        self._highest.move_to_end(render_id)
        while len(self._highest) > REMEMBERED_TOKENS:
            self._highest.popitem(last=False)
        turn = Turn(render_id, attempt, lease_seconds)
        self._under_way.append(turn)
        return turn

    def end(self, turn: Turn) -> None:
        self._under_way.remove(turn)

    def find(self, render_id: str, attempt: int) -> Turn | None:
        """The attempt, if it is under way; of two connections for it, the newer one's."""
        for turn in reversed(self._under_way):
            if (turn.render_id, turn.attempt) == (render_id, attempt):
                return turn
        return None

    @property
    def waiting(self) -> int:
        return len(self._under_way)
