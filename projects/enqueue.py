"""Has one of `projects.tasks` done soon, on the queue that every installation has.

As the tickets of renders they carry nothing: whoever takes one does what is due, so a lost or doubled one does no harm.
"""

from django_q.tasks import async_task

from render.lifecycle.transitions import COMMON_QUEUE


def ring(task: str) -> None:
    """task: a name in `projects.tasks`. In a transaction the ticket is there with the commit, or not at all.

    However often it is rung for, one ticket waits, see `render.cluster.broker`.
    """
    name = task.replace("_", "-")
    async_task(f"projects.tasks.{task}", cluster=COMMON_QUEUE, q_options={"task_name": name})
