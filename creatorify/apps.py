from django.apps import AppConfig


class CreatorifyConfig(AppConfig):
    name = "creatorify"

    def ready(self) -> None:
        from creatorify import checks  # noqa: F401  (importing registers them)
