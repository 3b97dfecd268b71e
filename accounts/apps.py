from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from accounts.staff import sessions  # noqa: F401  # It connects itself; its models are there only now.
