"""The Django app `accounts`."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        # Connects its signal handler. It uses models, which exist only now.
        from accounts.staff import sessions  # noqa: F401
