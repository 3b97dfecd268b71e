"""Speech: the built-in voice, and a server with OpenAI's protocol on loopback."""

import io
import json
import wave
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest

from accounts.errors import ServiceError
from accounts.models import Plan, Tenant
from render.fence import Fenced
from render.models import Render
from render.pipeline import preparation
from render.speech import joining, registry
from render.speech.base import SAMPLE_RATE, SpeechUnavailable
from render.speech.registry import Script, choose, speak
from tests.engines import InstantEngine

SENTENCE = "Hello, and welcome. This was spoken by a computer."


def script(text: str, voice: str = "heart") -> Script:
    return Script(text=text, voice=voice, language="en")


def samples(path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, SAMPLE_RATE)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def test_the_built_in_voice_speaks_the_same_each_time(tmp_path):
    for name in ("a.wav", "b.wav"):
        speak(script(SENTENCE), tmp_path / name, max_seconds=60)

    first, second = samples(tmp_path / "a.wav"), samples(tmp_path / "b.wav")
    assert 2 < len(first) / SAMPLE_RATE < 8
    assert np.sqrt(np.mean((first / 32768) ** 2)) > 0.01
    assert np.array_equal(first, second)


def test_a_long_script_is_spoken_sentence_by_sentence_up_to_the_limit(tmp_path):
    speak(script("This is one sentence. " * 30), tmp_path / "long.wav", max_seconds=600)
    assert len(samples(tmp_path / "long.wav")) / SAMPLE_RATE > 25

    with pytest.raises(ServiceError) as caught:
        speak(script("This is one sentence. " * 300), tmp_path / "longer.wav", max_seconds=10)
    assert (caught.value.code, caught.value.param) == ("audio_too_long", "script")


@pytest.mark.parametrize("text", ["Привет", "Hello 你好", "!!! ...", "\U0001f600", "--"])
def test_what_it_cannot_say_is_told(text):
    with pytest.raises(ServiceError) as caught:
        choose(text, voice=None, language=None)
    assert (caught.value.code, caught.value.param) == ("script_unspeakable", "script")


@pytest.mark.parametrize("text", ["Café, naïve, 50 %!", "1,250 people at 7:30 pm", "“Quoted” — dashes… \U0001f600 Hi"])
def test_what_it_can_say_is_not_refused(text, tmp_path):
    speak(choose(text, voice=None, language="en-US"), tmp_path / "voice.wav", max_seconds=60)

    assert len(samples(tmp_path / "voice.wav")) > SAMPLE_RATE // 2


@pytest.mark.parametrize(("voice", "language", "param"), [("nobody", None, "voice"), (None, "id", "language")])
def test_a_voice_or_language_that_is_not_there_is_told(voice, language, param):
    with pytest.raises(ServiceError) as caught:
        choose("Hello", voice=voice, language=language)
    assert (caught.value.code, caught.value.param) == ("invalid", param)


class SpeechServer:
    def __init__(self) -> None:
        self.asked: list[dict] = []
        self.status = 200
        self.content: bytes | None = None


@pytest.fixture
def server(settings) -> Iterator[SpeechServer]:
    state = SpeechServer()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.asked.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
            content = state.content if state.content is not None else _beep(len(body["input"]) / 50)
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        settings.SPEECH_ENGINES = {
            "web": {
                "class": "render.speech.web_engine.WebSpeechEngine",
                "options": {
                    "url": f"http://127.0.0.1:{http.server_port}/",
                    "api_key": "secret",
                    "model": "kokoro",
                    "voices": ["bunga:id", "af_heart:en-US"],
                },
            },
            **settings.SPEECH_ENGINES,
        }
        registry._engine.cache_clear()
        yield state
        registry._engine.cache_clear()
        http.shutdown()


def _beep(seconds: float) -> bytes:
    """At another rate than ours, and in stereo, as some servers answer."""
    tone = (8000 * np.sin(np.arange(int(seconds * 44_100)) / 30)).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(2)
        wav.setsampwidth(2)
        wav.setframerate(44_100)
        wav.writeframes(np.repeat(tone, 2).tobytes())
    return file.getvalue()


def test_a_server_s_voices_come_first(server):
    assert list(registry.voices()) == ["bunga", "af_heart", "heart"]
    assert choose("Halo dunia", voice=None, language="id")["voice"] == "bunga"
    assert choose("Hello", voice=None, language="en")["voice"] == "af_heart"
    assert choose("Hello", voice="heart", language="en")["voice"] == "heart"


def test_a_slow_server_moves_the_render_on_with_each_request_and_a_cancel_is_noticed(server, tmp_path) -> None:
    text = "Ini satu kalimat yang cukup panjang untuk diucapkan. " * 60
    asked: list[int] = []

    def check() -> None:
        if len(server.asked) == 2:
            raise Fenced

    with pytest.raises(Fenced):
        speak(
            script(text, "bunga"),
            tmp_path / "voice.wav",
            max_seconds=600,
            check=check,
            moved_on=lambda: asked.append(len(server.asked)),
        )

    assert (set(asked), len(server.asked)) == ({1}, 2)


def test_a_render_gives_its_check_to_the_speech(monkeypatch, tmp_path) -> None:
    given = {}
    monkeypatch.setattr(preparation, "_fetch_all", lambda *arguments: {"image_url": tmp_path})
    monkeypatch.setattr(preparation, "speak", lambda *arguments, **named: given.update(named) or fail())
    render = Render(script=script("Hello"), parameters={"seed": 1}, tenant=Tenant(plan=Plan(max_audio_seconds=60)))
    calls: list[str] = []

    def fail() -> None:
        raise SpeechUnavailable

    with pytest.raises(SpeechUnavailable):
        preparation.prepare_sources(
            render,
            engine=InstantEngine(),
            folder=tmp_path,
            check=lambda: calls.append("check"),
            moved_on=lambda: calls.append("moved on"),
        )
    calls.clear()
    given["check"](), given["moved_on"]()
    assert calls == ["check", "moved on"]


def test_a_server_is_asked_for_some_sentences_at_a_time(server, tmp_path):
    text = "Ini satu kalimat yang cukup panjang untuk diucapkan. " * 40

    speak(script(text, "bunga"), tmp_path / "voice.wav", max_seconds=600)

    assert {(ask["path"], ask["key"], ask["model"], ask["voice"], ask["response_format"]) for ask in server.asked} == {
        ("/v1/audio/speech", "Bearer secret", "kokoro", "bunga", "wav")
    }
    assert len(server.asked) == 3 and all(len(ask["input"]) <= 1000 for ask in server.asked)
    assert " ".join(ask["input"] for ask in server.asked) == text.strip()
    spoken = sum(len(ask["input"]) for ask in server.asked) / 50
    assert len(samples(tmp_path / "voice.wav")) / SAMPLE_RATE == pytest.approx(spoken, abs=0.1)


PAUSED = '<speak>AT&amp;T &lt; five.<break time="2s"/>Hello.</speak>'


def longest_silence(sound: np.ndarray) -> float:
    """Seconds."""
    loud = np.flatnonzero(np.abs(sound.astype(int)) > joining.QUIET)
    return float(np.diff(loud).max()) / SAMPLE_RATE


@pytest.mark.parametrize("voice", ["bunga", "heart"])
def test_a_pause_is_silence_of_its_length_and_no_tag_is_spoken(server, tmp_path, voice):
    speak(choose(PAUSED, voice=voice, language=None), tmp_path / "paused.wav", max_seconds=60)
    speak(choose("AT&T < five. Hello.", voice=voice, language=None), tmp_path / "plain.wav", max_seconds=60)

    paused, plain = samples(tmp_path / "paused.wav"), samples(tmp_path / "plain.wav")
    assert longest_silence(paused) == pytest.approx(2, abs=0.02)
    assert (len(paused) - len(plain)) / SAMPLE_RATE == pytest.approx(2, abs=0.7)
    if voice == "bunga":
        assert [ask["input"] for ask in server.asked] == ["AT&T < five.", "Hello.", "AT&T < five. Hello."]


@pytest.mark.parametrize("breaks", [7, 1000])
def test_pauses_longer_than_the_limit_cost_nothing(server, tmp_path, breaks):
    pauses = '<break time="10s"/>' * breaks
    asked = choose(f"<speak>a {pauses} b</speak>", voice="bunga", language=None)

    with pytest.raises(ServiceError) as caught:
        speak(asked, tmp_path / "long.wav", max_seconds=60)
    assert (caught.value.code, caught.value.param) == ("audio_too_long", "script")
    assert f"The pauses of the script alone last {breaks * 10} s" in caught.value.detail
    assert server.asked == []


def test_pauses_count_towards_the_limit(server, tmp_path):
    asked = choose(f"<speak>{'word ' * 30}<break time='8s'/>end</speak>", voice="bunga", language=None)

    with pytest.raises(ServiceError, match="The spoken script is longer than the 10 s"):
        speak(asked, tmp_path / "long.wav", max_seconds=10)


def test_a_server_s_refusal_is_the_script_s_fault_and_its_failure_is_not(server, tmp_path):
    server.status = 400
    with pytest.raises(ServiceError) as caught:
        speak(script("Halo", "bunga"), tmp_path / "voice.wav", max_seconds=60)
    assert caught.value.code == "script_unspeakable"

    for status in (401, 429, 500, 503):
        server.status = status
        with pytest.raises(SpeechUnavailable):
            speak(script("Halo", "bunga"), tmp_path / "voice.wav", max_seconds=60)

    server.status, server.content = 200, b"<html>no sound</html>"
    with pytest.raises(ServiceError) as caught:
        speak(script("Halo", "bunga"), tmp_path / "voice.wav", max_seconds=60)
    assert caught.value.code == "script_unspeakable"


def test_a_server_that_is_away_is_unavailable(settings, tmp_path):
    options = {"url": "http://127.0.0.1:9", "api_key": "", "model": "m", "voices": ["x:en"]}
    settings.SPEECH_ENGINES = {"web": {"class": "render.speech.web_engine.WebSpeechEngine", "options": options}}
    registry._engine.cache_clear()
    try:
        with pytest.raises(SpeechUnavailable):
            speak(script("Hello", "x"), tmp_path / "voice.wav", max_seconds=60)
    finally:
        registry._engine.cache_clear()
