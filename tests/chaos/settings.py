"""The tests' settings, with times short enough to wait for and an engine that writes down what it renders."""

import os

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS, RENDER_ENGINES

RENDER_ENGINES = {
    **RENDER_ENGINES,
    **{
        name: {
            "class": f"tests.chaos.engines.{kind}",
            "queue": "gpu",
            "options": {"history": os.environ["CHAOS_HISTORY"]},
        }
        for name, kind in [("brief", "BriefEngine"), ("poison", "PoisonEngine"), ("hanging", "HangingEngine")]
    },
}
RENDER_RETRY_DELAYS = [0, 1, 2, 4]
INSTALLED_APPS = [*INSTALLED_APPS, "tests.chaos.apps.ChaosConfig"]
MUTATION = os.environ.get("CHAOS_MUTATION", "")
