"""Every URL of the service."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularRedocView, SpectacularSwaggerSplitView

from accounts.staff.login_view import login
from creatorify.api import openapi
from creatorify.api.errors import unknown_path
from creatorify.api.schema_view import SchemaView
from creatorify.operations.dashboard import invariants_view, operations_view
from creatorify.operations.report import report_view
from creatorify.web.media_view import media

handler400 = "creatorify.api.errors.bad_request"
handler500 = "creatorify.api.errors.server_error"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="docs")),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/operations/", admin.site.admin_view(operations_view), name="operations"),
    path("admin/invariants/", admin.site.admin_view(invariants_view), name="invariants"),
    path("admin/report/", admin.site.admin_view(report_view), name="report"),
    path("admin/report/<str:month>/", admin.site.admin_view(report_view), name="report_of_month"),
    path("admin/login/", login),
    path("admin/", admin.site.urls),
    path("favicon.ico", RedirectView.as_view(url=static("drf_spectacular_sidecar/swagger-ui-dist/favicon-32x32.png"))),
    path("media/<path:path>", media),
    path("api/v1/", include("projects.urls")),
    path("api/v1/", include("accounts.urls")),
    re_path(r"^api/schema/?$", SchemaView.as_view(), name="schema"),
    re_path(r"^api/docs/?$", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    re_path(r"^api/docs/errors/?$", openapi.errors, name="errors"),
    re_path(r"^api/redoc/?$", SpectacularRedocView.as_view(url_name="schema"), name="redoc"),
    # Last: every other path of the API.
    re_path(r"^api(?:/|$)", unknown_path),
]
