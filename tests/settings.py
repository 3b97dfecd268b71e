"""The product's settings, with engines that only tests have."""

from creatorify.settings import *  # noqa: F403
from creatorify.settings import RENDER_ENGINES

RENDER_ENGINES = {
    **RENDER_ENGINES,
    "instant": {"class": "tests.engines.InstantEngine", "queue": "cpu"},
    "slow": {"class": "tests.engines.SlowEngine", "queue": "cpu"},
    "held": {"class": "tests.engines.HeldEngine", "queue": "cpu"},
    "stateful": {"class": "tests.engines.StatefulEngine", "queue": "gpu"},
    "paced": {"class": "tests.engines.PacedEngine", "queue": "gpu"},
    "chunked": {"class": "tests.engines.ChunkedEngine", "queue": "gpu"},
}
FINAL_ENGINE = "stateful"

MAX_API_KEYS = MAX_KEY_CHANGES = 10**6  # `make contract` makes very many.
ESTIMATE_SECONDS = 0  # Tests look at what has just happened.
# The product's hash takes 0.3 s by design, whenever a test makes a user or logs one in.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
