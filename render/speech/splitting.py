"""Sentences split to what a speech engine can take at once, and a check for words that no engine can read."""

from collections.abc import Iterator

from accounts.errors import ServiceError

MAX_WORD = 100  # characters without a space
MAX_DIGITS = 30  # of one number: a longer one has no name
SHOWN = 20  # characters of a refused word


def check_words(text: str, voice_id: str) -> None:
    """For languages that put spaces between words. Raises ServiceError `script_unspeakable`."""
    for word in text.split():
        if len(word) > MAX_WORD:
            raise _unspeakable(voice_id, word, f"{len(word)} characters without a space", MAX_WORD)
        digits = sum(character.isnumeric() for character in word)
        if digits > MAX_DIGITS:
            raise _unspeakable(voice_id, word, f"a number of {digits} digits", MAX_DIGITS)


def split_sentences(sentences: list[str], *, max_characters: int) -> Iterator[str]:
    """Yield the sentences; a longer one in several parts, split between words where it has any."""
    for sentence in sentences:
        rest = sentence.strip()
        while len(rest) > max_characters:
            end = rest.rfind(" ", 1, max_characters + 1)
            end = max_characters if end < 0 else end
            yield rest[:end].strip()
            rest = rest[end:].strip()
        if rest:
            yield rest


def _unspeakable(voice_id: str, word: str, problem: str, limit: int) -> ServiceError:
    detail = f"The script has {problem}. The voice {voice_id} reads at most {limit}: {word[:SHOWN]}..."
    return ServiceError("script_unspeakable", detail, param="script")
