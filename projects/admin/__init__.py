"""Pages of the Django admin. `autodiscover` imports this package: each of its modules registers its own pages."""

from projects.admin import assets, deletions, projects, renders, webhooks  # noqa: F401
