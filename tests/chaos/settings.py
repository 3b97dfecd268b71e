"""The tests' settings, with times short enough to wait for and an engine that writes down what it renders."""

import os
import select
import time

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS, RENDER_ENGINES, STORAGES

RENDER_ENGINES = {
    **RENDER_ENGINES,
    **{
        kind.lower(): {
            "class": f"tests.chaos.engines.{kind}Engine",
            "queue": "gpu",
            "options": {"history": os.environ["CHAOS_HISTORY"]},
        }
        for kind in ("Brief", "Patient", "Poison", "Failing", "Hanging")
    },
}
RENDER_RETRY_DELAYS = [0, 1, 2, 4]
INSTALLED_APPS = [*INSTALLED_APPS, "tests.chaos.apps.ChaosConfig"]
MUTATION = os.environ.get("CHAOS_MUTATION", "")
if "FAKETIME" in os.environ:  # time.sleep waits on a clock that libfaketime breaks.
    time.sleep = lambda seconds: select.select([], [], [], seconds) and None
if seconds := float(os.environ.get("CHAOS_UPLOAD_SECONDS", "0")):
    slow = {"BACKEND": "tests.chaos.storage.SlowStorage", "OPTIONS": {"allow_overwrite": True, "seconds": seconds}}
    STORAGES = {**STORAGES, "default": slow}
