from django.apps import AppConfig


class RenderConfig(AppConfig):
    name = "render"

    def ready(self) -> None:
        from render import cluster_hardening

        cluster_hardening.install()
