from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from accounts import staff_sessions  # noqa: F401  # It connects itself; its models are there only now.
