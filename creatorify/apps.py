"""What happens in every process when Django has loaded all apps."""

from django.apps import AppConfig, apps
from django.conf import settings
from django.db.models.signals import post_migrate

from render.storage.private_folder import private_folder


class CreatorifyConfig(AppConfig):
    name = "creatorify"

    def ready(self) -> None:
        from creatorify import staff_roles
        from creatorify.config import checks  # noqa: F401  # The checks register themselves.
        from creatorify.middleware import request_charset

        for folder in (settings.MEDIA_ROOT, settings.WORK_DIR):
            if folder.is_dir():  # Versions before 0.2 created it readable for everybody.
                private_folder(folder)
        request_charset.install()
        # The last app that has models: all permissions exist then.
        post_migrate.connect(staff_roles.sync, sender=apps.get_app_config("projects"))
