"""What keeps a process from starting, besides Django's ImproperlyConfigured."""


class CannotStart(Exception):
    """The embedded Postgres does not start. The text says why, and where its folder and its log are."""
