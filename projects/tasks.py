"""What django-q2 runs. The names are stored in tickets and schedules: they never change."""


def tend_assets() -> None:
    from projects import asset_checks  # It decodes media: nothing that a web process should load.

    asset_checks.expire()
    while asset_checks.check_next():
        pass


def deliver_webhooks() -> None:
    from projects import webhook_delivery, webhook_events

    while webhook_events.hand_out():
        pass
    while webhook_delivery.send_next():
        pass


def delete_media() -> None:
    from projects import deletions

    while deletions.sweep_next():
        pass


def keep_retention() -> None:
    from projects import retention

    retention.run()
