from django.apps import AppConfig, apps
from django.conf import settings
from django.db.models.signals import post_migrate

from render.storage.private_folder import private_folder


class CreatorifyConfig(AppConfig):
    name = "creatorify"

    def ready(self) -> None:
        from creatorify import staff_roles  # noqa: F401  # The checks register themselves.
        from creatorify.config import checks  # noqa: F401  # The checks register themselves.
        from creatorify.middleware import request_charset  # noqa: F401  # The checks register themselves.

        for folder in (settings.MEDIA_ROOT, settings.WORK_DIR):
            if folder.is_dir():  # Made by an earlier release, when everybody could read them.
                private_folder(folder)
        request_charset.install()
        # The last app with models: the permissions of all the others are there then.
        post_migrate.connect(staff_roles.sync, sender=apps.get_app_config("projects"))
