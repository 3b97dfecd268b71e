"""`manage.py node_drain`: take a machine out of work, for maintenance."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from render.models import Node, State


class Command(BaseCommand):
    help = (
        "Take a machine out: its nodes get no new render and hand their current ones back after the segment in work. "
        "Exits with 1 if one is still at work after the time to wait."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the node's NODE_NAME")
        parser.add_argument("--queue", help="only its node of this queue, gpu or cpu; default: all of them")
        parser.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="until nothing runs on it")
        parser.add_argument("--undo", action="store_true", help="let it take renders again")

    def handle(self, *args: Any, **options: Any) -> None:
        nodes = Node.objects.filter(name=options["name"])
        if options["queue"]:
            nodes = nodes.filter(queue=options["queue"])
        if not nodes.update(draining=not options["undo"]):
            raise CommandError(f"There is no node {options['name']}")
        if options["undo"]:
            self.stdout.write(f"{options['name']} takes renders again")
            return
        deadline = time.monotonic() + options["wait"]
        while running := nodes.filter(renders__state=State.RUNNING).count():
            if time.monotonic() >= deadline:
                raise CommandError(f"{options['name']} drains; {running} renders are still at work", returncode=1)
            time.sleep(0.2)
        self.stdout.write(f"{options['name']} is drained")
