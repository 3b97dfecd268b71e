"""The URLs of the API that concern projects, files and webhooks; below /api/v1."""

from django.urls import path, re_path

from accounts.api.routers import OptionalSlashRouter
from projects.api.views import ProjectViewSet
from projects.api.voices import VoicesView
from projects.assets.avatar_views import AvatarViewSet
from projects.assets.upload_view import UploadContentView
from projects.assets.views import AssetViewSet, UploadViewSet
from projects.progress.hls import PreviewView
from projects.webhooks.views import WebhookDeliveryViewSet, WebhookEndpointViewSet

router = OptionalSlashRouter()
router.register("projects", ProjectViewSet, basename="project")
router.register("uploads", UploadViewSet, basename="upload")
router.register("assets", AssetViewSet, basename="asset")
router.register("avatars", AvatarViewSet, basename="avatar")
router.register("webhook-endpoints", WebhookEndpointViewSet, basename="webhook-endpoint")
router.register("webhook-deliveries", WebhookDeliveryViewSet, basename="webhook-delivery")

urlpatterns = [
    *router.urls,
    re_path(r"^voices/?$", VoicesView.as_view(), name="voices"),
    path("uploads/<str:token>/content", UploadContentView.as_view(), name="upload-content"),
    path("previews/<str:signed_id>/film.m3u8", PreviewView.as_view(), name="preview"),
]
