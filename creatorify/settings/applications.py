"""Django's applications, middleware, templates and static files."""

from creatorify.settings.base import BASE_DIR, VAR_DIR

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
    # The last entry is synchronous, so under ASGI all of them run in the request's one thread. If it were asynchronous,
    # each would switch between threads, which costs more than all their work.
    "creatorify.middleware.rate_headers.RateHeadersMiddleware",
]

ROOT_URLCONF = "creatorify.urls"
ASGI_APPLICATION = "creatorify.asgi.application"
APPEND_SLASH = False  # A redirect would lose the body of a POST; the API accepts paths with and without the slash.

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

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
USE_I18N = False  # All pages are in English: no word of theirs is looked for in catalogues of translations.

STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "static"
STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # WhiteNoise warns if the folder is missing.
WHITENOISE_USE_FINDERS = True  # Serves the static files of the admin and the API docs without a collectstatic step.
