"""The environment, the folders, and who may reach the service: secrets, host names, TLS, accounts of staff."""

from pathlib import Path

from creatorify.config import secret_key_file
from creatorify.config.environment import Environment

env = Environment()  # the only reader of environment variables

BASE_DIR = Path(__file__).resolve().parents[2]
VAR_DIR = env.path("VAR_DIR", BASE_DIR / "var").resolve()  # everything that the service writes on this machine

DEBUG = env.flag("DEBUG")
SECRET_KEY = env.text("SECRET_KEY") or secret_key_file.read_or_create(VAR_DIR / "secret_key")
SECRET_KEY_FALLBACKS = env.texts("SECRET_KEY_FALLBACKS", [])  # former keys, while signatures made with them are valid

ALLOWED_HOSTS = env.texts("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.texts("CSRF_TRUSTED_ORIGINS", [])
# Links in API responses are absolute. Without PUBLIC_URL they begin with the host of the request.
PUBLIC_URL = env.url("PUBLIC_URL").rstrip("/")

BEHIND_TLS_PROXY = env.flag("BEHIND_TLS_PROXY")
if BEHIND_TLS_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = env.whole("HSTS_SECONDS", 365 * 24 * 3600)
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    # The owner of a domain submits it to browsers' preload lists; a service on one of its hosts does not.
    SILENCED_SYSTEM_CHECKS = ["security.W021"]

# Passwords are for staff only: tenants have API keys.
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_REDIRECT_URL = "admin:index"  # where a log-in that names no page leads
