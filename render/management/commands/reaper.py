"""`manage.py reaper`: the loop that runs the reaper, beside the schedule of django-q2."""

import logging
import signal
import threading
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import Error, close_old_connections

from render.lifecycle import reaper

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Requeue the renders of dead workers, every few seconds, until SIGTERM. Run one beside the web process."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        while not stop.wait(settings.REAPER_INTERVAL_SECONDS):
            close_old_connections()
            try:
                reaper.run()
            except Error:
                logger.exception("The database is unavailable; trying again")
