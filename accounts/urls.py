from accounts.key_views import ApiKeyViewSet
from accounts.routing import OptionalSlashRouter
from accounts.usage_views import UsageViewSet

router = OptionalSlashRouter()
router.register("keys", ApiKeyViewSet, basename="key")
router.register("usage", UsageViewSet, basename="usage")

urlpatterns = router.urls
