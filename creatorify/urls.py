from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularRedocView, SpectacularSwaggerSplitView

from accounts.staff.login_view import login
from creatorify import api_docs
from creatorify.errors import unknown_path
from creatorify.media_view import media
from creatorify.operations_view import invariants_view, operations_view
from creatorify.operator_report import report_view
from creatorify.schema_view import SchemaView

handler400 = "creatorify.errors.bad_request"
handler500 = "creatorify.errors.server_error"

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
    re_path(r"^api/docs/errors/?$", api_docs.errors, name="errors"),
    re_path(r"^api/redoc/?$", SpectacularRedocView.as_view(url_name="schema"), name="redoc"),
    # Last: what nothing above has taken.
    re_path(r"^api(?:/|$)", unknown_path),
]
