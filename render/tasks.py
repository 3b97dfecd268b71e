"""What django-q2 runs. The names are stored in tickets and schedules: they never change."""

from render import lifecycle, nodes, reaper, runner


def run_ticket(queue: str) -> None:
    """A free worker takes the render whose turn it is, if there is one."""
    claim = lifecycle.claim_next(queue, nodes.beat(queue))
    if claim is not None:
        runner.run(claim)


def run_reaper() -> None:
    reaper.run()
