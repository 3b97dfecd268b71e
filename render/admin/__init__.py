"""Pages of the Django admin. `autodiscover` imports this package: each of its modules registers its own pages."""

from render.admin import media, nodes, queue, renders  # noqa: F401
