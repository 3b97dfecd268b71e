from accounts.key_views import ApiKeyViewSet
from accounts.routing import OptionalSlashRouter

router = OptionalSlashRouter()
router.register("keys", ApiKeyViewSet, basename="key")

urlpatterns = router.urls
