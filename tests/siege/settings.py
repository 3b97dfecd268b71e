"""The tests' settings, with the product's hash of passwords: what a login costs is part of the siege."""

from django.conf import global_settings

from tests.settings import *  # noqa: F403

PASSWORD_HASHERS = global_settings.PASSWORD_HASHERS
