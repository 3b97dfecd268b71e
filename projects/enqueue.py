"""Enqueues one of `projects.tasks` on the cpu queue, which every installation runs.

As the tickets of renders these carry no ids: the worker that takes one does whatever is due, so a lost or a doubled
ticket does no harm.
"""

from django_q.tasks import async_task

from render.lifecycle.transitions import COMMON_QUEUE


def enqueue_task(task: str) -> None:
    """Enqueue a task by its name in `projects.tasks`. In a transaction the ticket appears with the commit, or never.

    One waiting ticket of each task is enough, and no second one is added, see `render.cluster.broker`.
    """
    name = task.replace("_", "-")
    async_task(f"projects.tasks.{task}", cluster=COMMON_QUEUE, q_options={"task_name": name})
