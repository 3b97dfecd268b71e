from django.apps import AppConfig

from render.signals import render_changed


class ProjectsConfig(AppConfig):
    name = "projects"

    def ready(self) -> None:
        from projects import receivers

        render_changed.connect(receivers.follow_render, dispatch_uid="projects.follow_render")
