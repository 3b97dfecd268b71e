"""The tests' settings, and beside the API a view that does nothing, to compare with."""

from tests.settings import *  # noqa: F403

PACE_SECONDS = 15
ROOT_URLCONF = "tests.load.urls"
