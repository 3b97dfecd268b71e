"""Scripts that a speech engine cannot read, or would read for ever, are refused before; its crash is the script's."""

import pytest

from accounts.errors import ServiceError
from render.speech import hibari_engine, splitting
from render.speech.hibari_engine import HibariEngine
from render.speech.web_engine import MAX_CHARACTERS, _parts

ENGINE = HibariEngine()
[VOICE] = ENGINE.voices()


@pytest.mark.parametrize(
    "text",
    [
        "9" * 3000,
        "9" * 5000,
        "Call " + "9" * 31,
        "$" + "9" * 29 + ".99",
        ",".join(["999"] * 11),
        "1/" + "9" * 40,
        "\u0663" * 40,
        "\uff19" * 40,
        "\u2460" * 40,
        "\u00b2" * 40,
        "\u00bd" * 40,
        "a" * 101,
        "Hello " + "abcde" * 10_000,
        "a." * 2000,
        "a/b" * 500,
        "e" + "\u0301" * 5000,
        "".join("a" + "\u0300" * 20 for _ in range(200)),
        "Hello " + "\U0001f600" * 5000,
        "[" * 5000 + "a",
        "he\u200bllo" * 50,
    ],
)
def test_what_would_crash_or_never_end_is_refused(text) -> None:
    with pytest.raises(ServiceError) as caught:
        ENGINE.check(text, VOICE)

    assert (caught.value.code, caught.value.param) == ("script_unspeakable", "script")
    assert "The script has " in caught.value.detail
    assert len(caught.value.detail) < 200


@pytest.mark.parametrize("text", ["\U0001f600" * 50, "\u200b\u200b", "...", "\x07\x1b", "\u0301\u0301"])
def test_without_a_word_there_is_nothing_to_say(text) -> None:
    with pytest.raises(ServiceError, match="The script has no words"):
        ENGINE.check(text, VOICE)


@pytest.mark.parametrize(
    "text",
    [
        "Call +1 (555) 010-9999, or 1,000,000,000 times.",
        "9" * 30,
        "a" * 100,
        "It is cafe\u0301, na\u00efve, \U0001f600 and 50 %.",
        "https://example.com/a/long/address?with=query&more=words",
        "he\u200bllo \x07 there",
    ],
)
def test_what_people_write_is_accepted_and_spoken(text) -> None:
    ENGINE.check(text, VOICE)

    assert sum(len(block) for block in ENGINE.speak(text, VOICE)) > 10_000


def test_a_long_sentence_is_spoken_in_parts_and_none_of_it_is_lost(monkeypatch) -> None:
    text = " ".join(f"word{number}" for number in range(300))
    spoken = []
    monkeypatch.setattr(hibari_engine, "_speak", lambda model, piece: spoken.append(piece) or [])

    list(ENGINE.speak(f"{text}\nShort one.", VOICE))

    assert max(map(len, spoken)) <= hibari_engine.MAX_CHARACTERS
    assert " ".join(spoken) == f"{text} Short one."


def test_a_word_without_end_is_cut() -> None:
    parts = splitting.split_sentences(["abcdefgh ij", "", "k"], max_characters=3)

    assert list(parts) == ["abc", "def", "gh", "ij", "k"]


def test_a_server_gets_no_longer_parts_than_it_takes() -> None:
    parts = list(_parts("\u4f60" * 2500 + ". " + "word " * 700))

    assert max(map(len, parts)) <= MAX_CHARACTERS
    assert sum(part.count("\u4f60") for part in parts) == 2500
    assert sum(part.count("word") for part in parts) == 700


@pytest.mark.parametrize("crash", [IndexError("list index out of range"), ValueError("4300 digits"), RecursionError()])
def test_where_the_engine_crashes_the_script_is_at_fault(monkeypatch, crash, caplog) -> None:
    class Model:
        def stream(self, text: str, seed: int):
            raise crash

    with pytest.raises(ServiceError) as caught:
        hibari_engine._speak(Model(), "A text that nobody thought of. " * 20)

    assert (caught.value.code, caught.value.param) == ("script_unspeakable", "script")
    assert "A text that nobody thought of." in caught.value.detail
    assert "The voice failed to speak a script" in caplog.text


@pytest.mark.parametrize("crash", [OSError("no file"), MemoryError()])
def test_where_the_machine_fails_the_script_is_not_at_fault(crash) -> None:
    class Model:
        def stream(self, text: str, seed: int):
            raise crash

    with pytest.raises(type(crash)):
        hibari_engine._speak(Model(), "Hello.")
