"""The tests' settings, and beside the API a view that does nothing, to compare with."""

from tests.settings import *  # noqa: F403

ESTIMATE_SECONDS = 1.0
ROOT_URLCONF = "tests.load.urls"
