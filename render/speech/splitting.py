"""A script in pieces that a speech engine can take at once, and what no engine can read."""

from collections.abc import Iterator

from accounts.errors import ServiceError

MAX_WORD = 100  # characters without a space
MAX_DIGITS = 30  # of one number: more have no name
SHOWN = 20  # characters of what is refused


def check_words(text: str, voice_id: str) -> None:
    """For languages that put spaces between words. Raises ServiceError `script_unspeakable`."""
    for word in text.split():
        if len(word) > MAX_WORD:
            raise _unspeakable(voice_id, word, f"{len(word)} characters without a space", MAX_WORD)
        digits = sum(character.isnumeric() for character in word)
        if digits > MAX_DIGITS:
            raise _unspeakable(voice_id, word, f"a number of {digits} digits", MAX_DIGITS)


def pieces(sentences: list[str], *, longest: int) -> Iterator[str]:
    """The sentences; what is longer than so many characters in parts, cut between words where there are any."""
    for sentence in sentences:
        rest = sentence.strip()
        while len(rest) > longest:
            end = rest.rfind(" ", 1, longest + 1)
            end = longest if end < 0 else end
            yield rest[:end].strip()
            rest = rest[end:].strip()
        if rest:
            yield rest


def _unspeakable(voice_id: str, word: str, given: str, most: int) -> ServiceError:
    detail = f"The script has {given}, of which the voice {voice_id} reads {most} at most: {word[:SHOWN]}..."
    return ServiceError("script_unspeakable", detail, param="script")
