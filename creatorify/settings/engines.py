"""Rendering: the engines, retries of renders, the node's folders and costs, and the engines of speech."""

import socket
from typing import Any

from creatorify.settings.base import VAR_DIR, env

# Name of each engine -> its class, the queue whose nodes can run it, whether it refuses a source in which no face is
# found, whether a transparent video can be made of its frames, and the arguments of its constructor.
_ENGINES: dict[str, dict[str, Any]] = {
    "draft": {
        "class": "render.engines.draft.engine.DraftEngine",
        "queue": "cpu",
        "needs_face": True,
        "transparent": True,
    },
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
TEST_ENGINE = "draft"  # Projects of test keys always use it.
FINAL_ENGINE = "infinitetalk"  # `finalize` renders a draft anew with it.
RESOLUTIONS = ["480p", "720p"]  # of every engine
UPSCALES = ["720p", "1080p"]  # of every engine, too; `render.parameters` has their pixels

# Retries: seconds to wait after the 1st, 2nd, ... failure of each kind.
RENDER_RETRY_DELAYS = [0, 30, 120, 600]  # after a crash of the worker or a failure of the render
# After a failure of the media storage: a rendered video is kept for about a day until it can be uploaded.
STORAGE_RETRY_DELAYS = env.numbers("STORAGE_RETRY_DELAYS", [30, 120, 600, 1800, *[3600] * 22])
NODE_FAULT_DELAYS = [0, 10, 60, 600]  # after a node had no room for the render and handed it back
RENDER_MAX_CRASHES = 5
RENDER_MAX_FAILURES = 3
# A worker holds a new segment so long while the storage is away; then the segment is lost.
STORAGE_PATIENCE_SECONDS = env.number("STORAGE_PATIENCE_SECONDS", 600, least=0)
# A render fails after no living node could load the model files that it needs for so long.
MODEL_FILES_PATIENCE_SECONDS = env.number("MODEL_FILES_PATIENCE_SECONDS", 900)
ESTIMATE_SECONDS = 1.0  # All clients that poll share one snapshot of the queues for so long.

# This node
NODE_NAME = env.text("NODE_NAME", socket.gethostname())
WORK_DIR = env.path("WORK_DIR", VAR_DIR / "work")
# With less free space in WORK_DIR a node takes no work. A render that needs more and does not find it is handed back.
MIN_FREE_WORK_BYTES = env.whole("MIN_FREE_WORK_BYTES", 64 * 2**20)
SOURCE_CACHE_BYTES = env.whole("SOURCE_CACHE_BYTES", 4 * 2**30)  # in WORK_DIR
# In millionths of the plans' currency: for reports of cost and margin.
NODE_COST_MICROS_PER_HOUR = {
    "cpu": env.whole("CPU_NODE_COST_MICROS_PER_HOUR", 0),
    "gpu": env.whole("GPU_NODE_COST_MICROS_PER_HOUR", 0),
}

# Speech: the built-in voice. If SPEECH_URL is set, the voices of that server (OpenAI's protocol) come before it.
SPEECH_ENGINES: dict[str, dict[str, Any]] = {"hibari": {"class": "render.speech.hibari_engine.HibariEngine"}}
if SPEECH_URL := env.url("SPEECH_URL"):
    _voices = env.texts("SPEECH_VOICES", ["af_heart:en"], pattern=r"[^:]+:[^:]+", expected="a list of ID:LANGUAGE")
    _web_speech = {
        "class": "render.speech.web_engine.WebSpeechEngine",
        "options": {
            "url": SPEECH_URL,
            "api_key": env.text("SPEECH_API_KEY"),
            "model": env.text("SPEECH_MODEL", "kokoro"),
            "voices": _voices,
        },
    }
    SPEECH_ENGINES = {"web": _web_speech, **SPEECH_ENGINES}
