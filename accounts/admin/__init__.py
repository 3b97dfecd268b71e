"""Pages of the Django admin. `autodiscover` imports this package: each of its modules registers its own pages."""

from accounts.admin import api_keys, tenants, users  # noqa: F401
