"""Speech from a server with OpenAI's protocol (`POST /v1/audio/speech`): Kokoro, Chatterbox, or OpenAI itself."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx

from accounts.errors import ServiceError
from render.media.audio.voice import decode_mono
from render.speech.base import SAMPLE_RATE, SpeechUnavailable, Voice
from render.speech.splitting import split_sentences

MAX_CHARACTERS = 1000  # in one request: whole sentences; servers take some 4,000
TIMEOUT_SECONDS = 120.0
TEXT_REFUSED = (400, 413, 422)  # statuses that are the text's fault; all others are the server's


class WebSpeechEngine:
    """url: of the server, without /v1. voices: `ID:LANGUAGE` each, such as `af_heart:en`."""

    def __init__(self, url: str, *, api_key: str, model: str, voices: list[str]) -> None:
        self._url = f"{url.rstrip('/')}/v1/audio/speech"
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._model = model
        self._voices = []
        for entry in voices:
            voice_id, _, language = entry.partition(":")
            self._voices.append(Voice(voice_id, voice_id, language))

    def voices(self) -> list[Voice]:
        return self._voices

    def can_speak(self, character: str) -> bool:
        return True

    def check(self, text: str, voice: Voice) -> None:
        if not any(c.isalnum() for c in text):
            raise ServiceError("script_unspeakable", "The script has no words.", param="script")

    def speak(self, text: str, voice: Voice) -> Iterator[bytes]:
        with tempfile.TemporaryDirectory() as folder, httpx.Client(timeout=TIMEOUT_SECONDS) as client:
            for part in _parts(text):
                path = Path(folder) / "part.wav"
                path.write_bytes(self._request(client, part, voice))
                failure = ServiceError("script_unspeakable", "The speech engine returned no audio.", param="script")
                yield from decode_mono(path, rate=SAMPLE_RATE, invalid=failure)

    def _request(self, client: httpx.Client, text: str, voice: Voice) -> bytes:
        body = {"model": self._model, "input": text, "voice": voice.id, "response_format": "wav"}
        try:
            response = client.post(self._url, json=body, headers=self._headers)
        except httpx.HTTPError as error:
            raise SpeechUnavailable(type(error).__name__) from error
        if response.status_code in TEXT_REFUSED:
            raise ServiceError("script_unspeakable", f"The voice {voice.id} cannot speak this script.", param="script")
        if not response.is_success:
            raise SpeechUnavailable(f"HTTP {response.status_code}")
        return response.content


def _parts(text: str) -> Iterator[str]:
    """Yield as many whole sentences together as one request may hold; a longer sentence is split."""
    from hibari import Hibari  # splits sentences of any language

    part = ""
    for sentence in split_sentences(Hibari.split_sentences(text), max_characters=MAX_CHARACTERS):
        if part and len(part) + len(sentence) >= MAX_CHARACTERS:
            yield part
            part = ""
        part = f"{part} {sentence}".strip()
    if part:
        yield part
