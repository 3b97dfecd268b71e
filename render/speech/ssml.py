"""Scripts in SSML 1.1 (https://www.w3.org/TR/speech-synthesis11/): a small part of it; the rest is refused by name.

Parsed in one pass by expat. A document type, and with it every entity of its own, is refused, and so are elements where
they are not allowed: elements are nested at most four deep, and cost and memory grow linearly with the script.
"""

import re
from dataclasses import dataclass, field
from xml.parsers import expat

from accounts.errors import ServiceError
from render.speech import say_as
from render.speech.passages import Passage, Pause, Spoken

MAX_BREAK_SECONDS = 10
MAX_PARTS = 2000  # between pauses: each is spoken by itself, by a server with one request for each
SHOWN = 60  # characters, in a message, of a refused name or value
STRENGTHS = {"none": 0.0, "x-weak": 0.1, "weak": 0.25, "medium": 0.5, "strong": 0.75, "x-strong": 1.0}  # seconds
PARAGRAPH = Pause(STRENGTHS["strong"])

# Element -> elements in which it is allowed.
_PARENTS = {
    "speak": [""],
    "p": ["speak"],
    "s": ["speak", "p"],
    "break": ["speak", "p", "s"],
    "sub": ["speak", "p", "s"],
    "say-as": ["speak", "p", "s"],
}
_ATTRIBUTES = {
    "speak": ["version", "xml:lang", "xml:base", "xsi:schemaLocation"],
    "p": ["xml:lang"],
    "s": ["xml:lang"],
    "break": ["time", "strength"],
    "sub": ["alias"],
    "say-as": ["interpret-as", "format"],
}
_VERSIONS = ("1.0", "1.1")
_BLANKS = "\ufeff \t\r\n"
_ROOT = re.compile(r"<(?:[a-z]+:)?speak(?=[\s/>]|\Z)|<!doctype\s+speak\b|<\?xml\s", re.IGNORECASE)
_TAG = re.compile(
    "</?(?:speak|p|s|break|sub|say-as|prosody|emphasis|phoneme|voice|audio|mark|lang)(?:\\s[^<>]{0,200})?/?>",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"<!--.*?-->\s*", re.DOTALL)
_TIME = re.compile(r"\+?([0-9]{1,9}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})(ms|s)")
_ESCAPES = "As text, & is written &amp; and < is written &lt;; other entities are numbers, such as &#8217;"
_SENTENCE_END = (".", "!", "?", "…", ":", ";", ",", "。", "！", "？")  # noqa: RUF001


@dataclass
class Ssml:
    passages: list[Passage] = field(default_factory=list)
    plain: str = ""  # the text between the tags, as it is written and not as it is spoken
    languages: list[str] = field(default_factory=list)  # each xml:lang (BCP 47), that of the whole text first


def is_ssml(text: str) -> bool:
    """Whether a text begins as SSML does. Any other text is plain text, also if it has tags in the middle."""
    start = len(text) - len(text.lstrip(_BLANKS))
    while comment := _COMMENT.match(text, start):
        start = comment.end()
    return _ROOT.match(text, start) is not None


def has_tags(text: str) -> bool:
    """Whether a plain text holds SSML tags, which would be spoken."""
    return _TAG.search(text) is not None


def parse(text: str, *, english: bool) -> Ssml:
    """english: for an English voice, for which more kinds of `say-as` are supported.

    Raises ServiceError `script_unspeakable`, which tells what is not supported, and its line and column.
    """
    return _Parser(english).parse(text.strip(_BLANKS))


class _Parser:
    def __init__(self, english: bool) -> None:
        self._kinds = say_as.kinds(english=english)
        self._ssml = Ssml()
        self._open: list[tuple[str, dict[str, str]]] = []  # element, attributes
        self._sentences: list[str] = []  # since the last pause
        self._text: list[str] = []  # of the current sentence
        self._inner_text: list[str] = []  # of `sub` or `say-as`
        self._plain: list[str] = []
        self._paragraph_due = False
        self._parts = 0
        self._parser = parser = expat.ParserCreate("utf-8")  # whatever the XML declares: it is encoded here
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._document_type
        parser.ProcessingInstructionHandler = self._instruction
        parser.buffer_text = True

    def parse(self, text: str) -> Ssml:
        try:
            self._parser.Parse(text.encode("utf-8", "surrogatepass"), True)
        except expat.ExpatError as error:
            problem = f"it is not well-formed XML ({expat.ErrorString(error.code)}). {_ESCAPES}"
            raise self._refusal(problem, error.lineno, error.offset) from error
        self._flush()
        self._ssml.plain = " ".join("".join(self._plain).split())
        return self._ssml

    def _document_type(self, *_: object) -> None:
        raise self._refusal("a <!DOCTYPE> is not supported; leave it out")

    def _instruction(self, name: str, _: str) -> None:
        raise self._refusal(f"<?{name[:SHOWN]}?> is not supported; leave it out")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        parent = self._open[-1][0] if self._open else ""
        if name not in _PARENTS:
            allowed = ", ".join(f"<{known}>" for known in _PARENTS)
            raise self._refusal(f"<{name[:SHOWN]}> is not supported. Supported: {allowed}")
        if parent not in _PARENTS[name]:
            raise self._refusal(
                f"<{name}> is not allowed in <{parent}>" if parent else f"it must begin with <speak>, not <{name}>"
            )
        for attribute in attributes:
            if attribute in _ATTRIBUTES[name]:
                continue
            if name == "speak" and (attribute == "xmlns" or attribute.startswith("xmlns:")):
                continue  # declares a prefix only; an element with that prefix is refused
            allowed = ", ".join(_ATTRIBUTES[name])
            raise self._refusal(f"{attribute[:SHOWN]} of <{name}> is not supported. Supported: {allowed}")
        self._open.append((name, attributes))
        if "xml:lang" in attributes:
            self._ssml.languages.append(attributes["xml:lang"])
        if name == "speak" and (version := attributes.get("version", "1.1").strip()) not in _VERSIONS:
            raise self._bad_value(name, "version", version, " or ".join(_VERSIONS))
        if name in ("p", "s"):
            self._edge(name)
        elif name == "break":
            self._plain.append(" ")
            self._pause(self._seconds(attributes))
        elif name == "sub" and "alias" not in attributes:
            raise self._refusal("<sub> needs an alias: the words to speak instead of its text")
        elif name == "say-as" and attributes.get("interpret-as") not in self._kinds:
            if "interpret-as" not in attributes:
                raise self._refusal(f"<say-as> needs interpret-as: one of {', '.join(self._kinds)}")
            raise self._bad_value(name, "interpret-as", attributes["interpret-as"], f"one of {', '.join(self._kinds)}")

    def _end(self, name: str) -> None:
        _, attributes = self._open.pop()
        if name in ("p", "s"):
            self._edge(name)
        elif name in ("sub", "say-as"):
            inner = " ".join("".join(self._inner_text).split())
            self._inner_text.clear()
            if name == "sub":
                self._text.append(attributes["alias"])
            elif inner:
                self._text.append(self._written_out(inner, attributes))

    def _edge(self, name: str) -> None:
        """A paragraph or a sentence begins or ends."""
        self._plain.append(" ")
        if name == "p":
            self._flush()
            self._paragraph_due = True
        else:
            self._end_sentence()

    def _characters(self, data: str) -> None:
        name = self._open[-1][0]
        if name == "break" and data.strip():
            raise self._refusal("<break> must not hold text")
        self._plain.append(data)
        (self._inner_text if name in ("sub", "say-as") else self._text).append(data)

    def _written_out(self, text: str, attributes: dict[str, str]) -> str:
        kind, form = attributes["interpret-as"], attributes.get("format")
        if form is not None and kind != "date":
            raise self._refusal(f"format of <say-as> is supported for a date only, not for {kind}")
        try:
            return self._kinds[kind](text, form)
        except ValueError as error:
            raise self._refusal(
                f'<say-as interpret-as="{kind}"> holds {_short(text)}, and must hold {error}'
            ) from error

    def _seconds(self, attributes: dict[str, str]) -> float:
        if "time" in attributes:
            value = attributes["time"].strip()
            match = _TIME.fullmatch(value)
            seconds = float(match[1]) / (1000 if match[2] == "ms" else 1) if match else -1.0
            if not 0 <= seconds <= MAX_BREAK_SECONDS:
                raise self._bad_value("break", "time", value, f"such as 2s or 500ms, and {MAX_BREAK_SECONDS} s at most")
            return seconds
        strength = attributes.get("strength", "medium").strip()
        if strength not in STRENGTHS:
            raise self._bad_value("break", "strength", strength, f"one of {', '.join(STRENGTHS)}")
        return STRENGTHS[strength]

    def _end_sentence(self) -> None:
        """End the sentence with a full stop: a speech engine does not see the end of an element."""
        if sentence := self._take_text():
            self._sentences.append(sentence if sentence.endswith(_SENTENCE_END) else f"{sentence}.")

    def _take_text(self) -> str:
        """The words since the last sentence; empty if there are none."""
        text = " ".join("".join(self._text).split())
        self._text.clear()
        return text if any(c.isalnum() for c in text) else ""

    def _pause(self, seconds: float) -> None:
        if not seconds:
            self._text.append(" ")
            return
        self._flush()
        self._ssml.passages.append(Pause(seconds))

    def _flush(self) -> None:
        """End the words before a pause or a paragraph."""
        if sentence := self._take_text():
            self._sentences.append(sentence)
        if not self._sentences:
            return
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise self._refusal(f"it has more than {MAX_PARTS} parts between pauses")
        passages = self._ssml.passages
        if self._paragraph_due and passages and isinstance(passages[-1], Spoken):
            passages.append(PARAGRAPH)
        self._paragraph_due = False
        passages.append(Spoken("\n".join(self._sentences)))
        self._sentences.clear()

    def _bad_value(self, element: str, attribute: str, value: str, required: str) -> ServiceError:
        return self._refusal(f"{attribute} of <{element}> is {_short(value)}, and must be {required}")

    def _refusal(self, problem: str, line: int | None = None, column: int | None = None) -> ServiceError:
        line = self._parser.CurrentLineNumber if line is None else line
        column = self._parser.CurrentColumnNumber if column is None else column
        detail = f"The SSML of the script is wrong in line {line}, column {column + 1}: {problem}."
        return ServiceError("script_unspeakable", detail, param="script")


def _short(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")
