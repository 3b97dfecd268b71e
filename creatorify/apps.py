from django.apps import AppConfig
from django.db.models.signals import post_migrate


class CreatorifyConfig(AppConfig):
    name = "creatorify"

    def ready(self) -> None:
        from creatorify import checks, roles  # noqa: F401  # The checks register themselves.

        # It is the last of the apps: the permissions of all the others are there.
        post_migrate.connect(roles.sync, sender=self)
