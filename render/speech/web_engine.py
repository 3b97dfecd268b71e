"""Speech from a server with OpenAI's protocol (`POST /v1/audio/speech`): of Kokoro, of Chatterbox, or OpenAI itself."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx

from accounts.errors import ServiceError
from render.media.audio.voice import decode_mono
from render.speech.base import SAMPLE_RATE, SpeechUnavailable, Voice
from render.speech.splitting import pieces

MAX_CHARACTERS = 1000  # in one request: whole sentences; servers take some 4,000
TIMEOUT_SECONDS = 120.0
REFUSED = (400, 413, 422)  # Of this text; every other failure is the server's.


class WebSpeechEngine:
    """url: of the server, without /v1. voices: `ID:LANGUAGE`, as `af_heart:en`."""

    def __init__(self, url: str, *, api_key: str, model: str, voices: list[str]) -> None:
        self._url = f"{url.rstrip('/')}/v1/audio/speech"
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._model = model
        self._voices = [Voice(name, name, language) for name, _, language in (v.partition(":") for v in voices)]

    def voices(self) -> list[Voice]:
        return self._voices

    def reads(self, character: str) -> bool:
        return True

    def check(self, text: str, voice: Voice) -> None:
        if not any(c.isalnum() for c in text):
            raise ServiceError("script_unspeakable", "There is no word in the script.", param="script")

    def speak(self, text: str, voice: Voice) -> Iterator[bytes]:
        with tempfile.TemporaryDirectory() as folder, httpx.Client(timeout=TIMEOUT_SECONDS) as client:
            for part in _parts(text):
                path = Path(folder) / "part.wav"
                path.write_bytes(self._ask(client, part, voice))
                failure = ServiceError("script_unspeakable", "What was spoken is no sound.", param="script")
                yield from decode_mono(path, rate=SAMPLE_RATE, invalid=failure)

    def _ask(self, client: httpx.Client, text: str, voice: Voice) -> bytes:
        body = {"model": self._model, "input": text, "voice": voice.id, "response_format": "wav"}
        try:
            response = client.post(self._url, json=body, headers=self._headers)
        except httpx.HTTPError as error:
            raise SpeechUnavailable(type(error).__name__) from error
        if response.status_code in REFUSED:
            raise ServiceError("script_unspeakable", f"The voice {voice.id} cannot speak this script.", param="script")
        if not response.is_success:
            raise SpeechUnavailable(f"HTTP {response.status_code}")
        return response.content


def _parts(text: str) -> Iterator[str]:
    """Sentences, as many together as one request may hold; a longer one is cut."""
    from hibari import Hibari

    part = ""
    for sentence in pieces(Hibari.split_sentences(text), longest=MAX_CHARACTERS):
        if part and len(part) + len(sentence) >= MAX_CHARACTERS:
            yield part
            part = ""
        part = f"{part} {sentence}".strip()
    if part:
        yield part
