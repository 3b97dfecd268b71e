"""Puts a mutation into every process of the service, to see whether the campaign notices it."""

from django.apps import AppConfig
from django.conf import settings


class ChaosConfig(AppConfig):
    name = "tests.chaos"
    label = "chaos"

    def ready(self) -> None:
        from tests.chaos import mutations

        if settings.MUTATION in mutations.IN_PROCESSES:
            mutations.IN_PROCESSES[settings.MUTATION]()
