"""Routes of /api/v1/keys and /api/v1/usage."""

from accounts.api.routers import OptionalSlashRouter
from accounts.api_keys.views import ApiKeyViewSet
from accounts.billing.views import UsageViewSet

router = OptionalSlashRouter()
router.register("keys", ApiKeyViewSet, basename="key")
router.register("usage", UsageViewSet, basename="usage")

urlpatterns = router.urls
