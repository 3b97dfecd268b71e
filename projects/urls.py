from django.urls import path
from rest_framework.routers import SimpleRouter

from projects.previews import PreviewView
from projects.views import ProjectViewSet


class OptionalSlashRouter(SimpleRouter):
    """With and without a slash at the end: a redirect would lose the body of a POST."""

    def __init__(self) -> None:
        super().__init__()
        self.trailing_slash = "/?"


router = OptionalSlashRouter()
router.register("projects", ProjectViewSet, basename="project")

urlpatterns = [
    *router.urls,
    path("previews/<str:signed_id>/film.m3u8", PreviewView.as_view(), name="preview"),
]
