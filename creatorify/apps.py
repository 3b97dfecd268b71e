from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate


class CreatorifyConfig(AppConfig):
    name = "creatorify"

    def ready(self) -> None:
        from creatorify import checks, request_charset, roles  # noqa: F401  # The checks register themselves.

        request_charset.install()
        # The last app with models: the permissions of all the others are there then.
        post_migrate.connect(roles.sync, sender=apps.get_app_config("projects"))
