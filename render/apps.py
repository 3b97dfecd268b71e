"""The Django app `render`."""

import mimetypes

from django.apps import AppConfig


class RenderConfig(AppConfig):
    name = "render"

    def ready(self) -> None:
        from render.cluster import hardening

        hardening.install()
        # Segments of a video (RFC 3555). Many systems take .ts for a translation file of Qt.
        mimetypes.add_type("video/mp2t", ".ts")
        mimetypes.add_type("audio/wav", ".wav")  # Python knows only the older name, audio/x-wav.
