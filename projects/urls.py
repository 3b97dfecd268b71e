from django.urls import path

from accounts.routing import OptionalSlashRouter
from projects.previews import PreviewView
from projects.views import ProjectViewSet

router = OptionalSlashRouter()
router.register("projects", ProjectViewSet, basename="project")

urlpatterns = [
    *router.urls,
    path("previews/<str:signed_id>/film.m3u8", PreviewView.as_view(), name="preview"),
]
