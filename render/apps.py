import mimetypes

from django.apps import AppConfig


class RenderConfig(AppConfig):
    name = "render"

    def ready(self) -> None:
        from render.cluster import hardening

        hardening.install()
        # The pieces of a film; many systems know .ts as a file of Qt's translators (video/mp2t: RFC 3555).
        mimetypes.add_type("video/mp2t", ".ts")
        mimetypes.add_type("audio/wav", ".wav")  # Python knows only its older name.
