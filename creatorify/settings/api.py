"""The HTTP API: the web process's limits, Django REST framework, and the OpenAPI document."""

from creatorify.settings.base import BEHIND_TLS_PROXY, env

# The web process (creatorify/web)
WEB_CONCURRENCY = env.whole("WEB_CONCURRENCY", 1, least=1)  # processes; each uses one core
MAX_CONNECTIONS = env.whole("MAX_CONNECTIONS", 4000, least=1)  # open at once in each process; others wait
MAX_BODY_BYTES = 2**20  # A request's body is kept in memory. Uploads are not; their URL tells their size.

# API keys of one tenant. Live and test keys count separately, so that test keys never block live ones.
MAX_API_KEYS = 100  # that are valid
MAX_KEY_CHANGES = 500  # made with API keys in a day, because keys and their history are kept for ever

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.api_keys.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.api_keys.permissions.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "creatorify.api.errors.exception_handler",
    "DEFAULT_THROTTLE_CLASSES": ["accounts.api.throttling.TenantThrottle"],
    # Proxies of ours in front of the web process: so many addresses at the end of X-Forwarded-For are believed.
    "NUM_PROXIES": env.whole("NUM_PROXIES", 1 if BEHIND_TLS_PROXY else 0),
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Creatorify API",
    "DESCRIPTION": """A portrait and a voice in, a talking-head video out.

To begin, send an image and a voice with `POST /uploads`, or use their public URLs. Create the video with
`POST /projects`. Poll `GET /projects/{id}/status` until `status` is `finished`: `video_url` is then the link to the
video. Every request needs your API key in the header `X-API-Key`; *Authorize* sends it from this page.

Every error has a `code` for programs: see [the list of all errors](/api/docs/errors).""",
    "VERSION": "1.0.0",  # of the API, whose paths begin with /api/v1; not of the program
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
