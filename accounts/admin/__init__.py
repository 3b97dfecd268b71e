"""Pages of the Django admin. Each module registers its own; `autodiscover` imports only this package."""

from django.contrib import admin

from accounts.admin import api_keys, audit, billing, tenants, users  # noqa: F401

admin.site.site_header = admin.site.site_title = "Creatorify"
admin.site.index_title = "Support"
