"""The database: one Postgres for everything, the queue too."""

from typing import Any

from creatorify.config import database_url
from creatorify.settings.base import VAR_DIR, env

# Empty: an embedded Postgres. It starts with the first connection, see creatorify/config/embedded_backend/base.py.
DATABASE_URL = env.text("DATABASE_URL")
EMBEDDED_POSTGRES = None if DATABASE_URL else VAR_DIR / "postgres"  # the folder of the embedded server
DATABASE_CA_FILE = env.file("DATABASE_CA_FILE")  # With it, the server's certificate and host name are verified.
# Connections that one web process keeps; 0: no pool. creatorify/asgi.py sets it, because the threads of a web process
# share a pool. The queue forks its processes, and a pool does not survive a fork.
DATABASE_POOL_SIZE = env.whole("DATABASE_POOL_SIZE", 0)

_parsed = database_url.parse(DATABASE_URL) if DATABASE_URL else database_url.EMBEDDED
_options: dict[str, Any] = {
    **_parsed.get("OPTIONS", {}),  # the query of DATABASE_URL
    "prepare_threshold": None,  # no prepared statements: poolers in transaction mode lose them
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
if DATABASE_CA_FILE:
    _options |= {"sslmode": "verify-full", "sslrootcert": DATABASE_CA_FILE}
if DATABASE_POOL_SIZE:
    _options["pool"] = {"min_size": 1, "max_size": DATABASE_POOL_SIZE}

DATABASES = {
    "default": {
        **_parsed,
        "CONN_MAX_AGE": 0 if DATABASE_POOL_SIZE else 600,
        "CONN_HEALTH_CHECKS": True,
        "DISABLE_SERVER_SIDE_CURSORS": True,  # Poolers in transaction mode (Supabase's port 6543) lose cursors.
        "OPTIONS": _options,
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
