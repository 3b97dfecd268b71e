"""Scripts in SSML: the small part that is understood, and the rest, which is refused by name."""

import time

import pytest

from accounts.errors import ServiceError
from render.speech import spoken_script, ssml
from render.speech.passages import Pause, Spoken
from render.speech.registry import choose
from render.speech.ssml import MAX_PARTS, PARAGRAPH, is_ssml, parse


def passages(text: str, *, english: bool = True) -> list:
    return parse(text, english=english).passages


def refusal(text: str, *, english: bool = True) -> str:
    with pytest.raises(ServiceError) as caught:
        parse(text, english=english)
    assert (caught.value.code, caught.value.param) == ("script_unspeakable", "script")
    assert len(caught.value.detail) < 400
    return caught.value.detail


@pytest.mark.parametrize(
    "text",
    [
        "<speak>a</speak>",
        "<speak/>",
        "<speak",
        "\ufeff \r\n\t<speak>a</speak>",
        '<?xml version="1.0"?>\n<speak>a</speak>',
        "<!-- a --> <!--b--><speak>a</speak>",
        "<SPEAK>a</SPEAK>",
        '<speak version="1.1">a</speak>',
        "<speak\nversion='1.1'>a</speak>",
        "<!DOCTYPE speak PUBLIC 'x' 'y'><speak>a</speak>",
    ],
)
def test_what_begins_as_ssml_is_ssml(text) -> None:
    assert is_ssml(text)


@pytest.mark.parametrize(
    "text",
    ["<speaker> hello", "< speak>a", "I <3 you", "a <speak>b</speak>", "<speaks>", "<speak-up>", "speak", "", "<!-- a"],
)
def test_everything_else_is_a_plain_text(text) -> None:
    assert not is_ssml(text)


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        ("Hello <break time='2s'/> world.", [Spoken("Hello"), Pause(2.0), Spoken("world.")]),
        ("a<break time='500ms'/>b<break time='.5s'/>", [Spoken("a"), Pause(0.5), Spoken("b"), Pause(0.5)]),
        ("a<break time='+1.5s' strength='weak'/>b", [Spoken("a"), Pause(1.5), Spoken("b")]),
        ("a<break time='10s'/>b", [Spoken("a"), Pause(10.0), Spoken("b")]),
        ("a<break/>b", [Spoken("a"), Pause(0.5), Spoken("b")]),
        ("a<break strength='x-strong'></break>b", [Spoken("a"), Pause(1.0), Spoken("b")]),
        ("a<break strength='none'/>b <break time='0ms'/>c", [Spoken("a b c")]),
        ("<break time='1s'/><break time='1s'/>a", [Pause(1.0), Pause(1.0), Spoken("a")]),
        ("Hello<break/>.", [Spoken("Hello"), Pause(0.5)]),
        ("The <sub alias='World Wide Web Consortium'>W3C</sub>.", [Spoken("The World Wide Web Consortium.")]),
        ("<p>One.</p><p>Two.</p>", [Spoken("One."), PARAGRAPH, Spoken("Two.")]),
        ("<p>One.</p><break time='3s'/><p>Two.</p>", [Spoken("One."), Pause(3.0), Spoken("Two.")]),
        ("a <p>b</p> c", [Spoken("a"), PARAGRAPH, Spoken("b"), PARAGRAPH, Spoken("c")]),
        ("<s>One</s><s>Two!</s> three", [Spoken("One.\nTwo!\nthree")]),
        ("<p><s>One</s>\n <s>Two</s></p>", [Spoken("One.\nTwo.")]),
        ("One\n  two\tthree &amp; &lt;four&gt; &#8217; &#x41;", [Spoken("One two three & <four> \u2019 A")]),
        ("<![CDATA[a < b & c]]><!-- not said -->", [Spoken("a < b & c")]),
    ],
)
def test_what_is_understood(inner, expected) -> None:
    assert passages(f"<speak>{inner}</speak>") == expected


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("characters", "Ab-1", "A. B. dash 1"),
        ("spell-out", "usa", "U. S. A."),
        ("digits", "12-34", "1 2 3 4"),
        ("telephone", "+1 (555) 010-9999", "plus 1, 5 5 5, 0 1 0, 9 9 9 9"),
        ("cardinal", "1999", "1,999"),
        ("cardinal", "-1,234.5", "minus 1,234.5"),
        ("ordinal", "2", "2nd"),
        ("ordinal", "112", "112th"),
        ("date", "2024-02-03", "February 3rd, 2024"),
        ("characters", " ", ""),
    ],
)
def test_how_a_text_is_said(kind, text, said) -> None:
    found = passages(f'<speak>x <say-as interpret-as="{kind}">{text}</say-as></speak>')

    assert found == [Spoken(f"x {said}".strip())]


@pytest.mark.parametrize(
    ("form", "text", "said"),
    [
        ("mdy", "2/3/2024", "February 3rd, 2024"),
        ("dmy", "3.2.2024", "February 3rd, 2024"),
        ("md", "12-31", "December 31st"),
        ("ym", "2024-12", "December 2024"),
        ("y", "1999", "1999"),
    ],
)
def test_how_a_date_is_said(form, text, said) -> None:
    assert passages(f'<speak><say-as interpret-as="date" format="{form}">{text}</say-as></speak>') == [Spoken(said)]


def test_ssml_as_other_services_take_it_is_understood_but_for_their_own_elements() -> None:
    head = (
        '<?xml version="1.0" encoding="UTF-16"?>\n<speak version="1.1" xmlns="http://www.w3.org/2001/10/synthesis"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="a b"'
        ' xmlns:mstts="https://www.w3.org/2001/mstts" xml:lang="en-US">\n'
    )

    assert passages(f"{head}<p>\u00dcber</p></speak>") == [Spoken("\u00dcber")]
    assert "in line 4, column 1: <mstts:express-as> is not supported" in refusal(f"{head}\n<mstts:express-as>x")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<speak>", "line 1, column 8: it is not well-formed XML (no element found)"),
        ("<speak>\u00e4\n\u00fc&nbsp;x</speak>", "line 2, column 2: it is not well-formed XML (undefined entity)"),
        ("<speak>AT&T</speak>", "& is written &amp;"),
        ("<speak><s>a</speak>", "mismatched tag"),
        ("<speak>a</speak><speak>b</speak>", "junk after document element"),
        ("<speak>a</speak> b", "junk after document element"),
        ("<speak version=1>a</speak>", "not well-formed"),
        ("<speak>\x00</speak>", "not well-formed"),
        ("<speak>\ud800</speak>", "not well-formed"),
        ("<ssml:speak xmlns:ssml='x'>a</ssml:speak>", "<ssml:speak> is not supported"),
        ("<SPEAK>a</SPEAK>", "<SPEAK> is not supported. Supported: <speak>, "),
        ("<?xml version='1.0'?><html>a</html>", "<html> is not supported"),
        ("<?xml version='1.0'?><p>a</p>", "it must begin with <speak>, not <p>"),
        ("<speak><?php x ?></speak>", "<?php?> is not supported"),
        ("<!DOCTYPE speak SYSTEM 'file:///etc/passwd'><speak/>", "a <!DOCTYPE> is not supported"),
        ("<!DOCTYPE speak [<!ENTITY a 'b'>]><speak>&a;</speak>", "a <!DOCTYPE> is not supported"),
        ("<speak><speak>a</speak></speak>", "<speak> is not allowed in <speak>"),
        ("<speak><s><p>a</p></s></speak>", "<p> is not allowed in <s>"),
        ("<speak><sub alias='a'><break/></sub></speak>", "<break> is not allowed in <sub>"),
        ("<speak><break>a</break></speak>", "<break> must not hold text"),
        ("<speak><sub>a</sub></speak>", "<sub> needs an alias"),
        ("<speak><say-as>a</say-as></speak>", "<say-as> needs interpret-as"),
        ("<speak rate='2'>a</speak>", "rate of <speak> is not supported"),
        ("<speak version='2.0'>a</speak>", "version of <speak> is '2.0', and must be 1.0 or 1.1"),
        ("<speak><break dur='1s'/></speak>", "dur of <break> is not supported. Supported: time, strength"),
        *(
            (f"<speak>a<break time='{time}'/></speak>", f"time of <break> is '{time}', and must be such as 2s")
            for time in ("11s", "10001ms", "-1s", "2", "2 s", "1e1s", "", "s", "\u0662s", "2S", "2m")
        ),
        ("<speak><break strength='huge'/></speak>", "strength of <break> is 'huge', and must be one of none, "),
        *(
            (f"<speak><{name}>a</{name}></speak>", f"<{name}> is not supported")
            for name in (
                "prosody",
                "emphasis",
                "audio",
                "voice",
                "phoneme",
                "lang",
                "mark",
                "w",
                "amazon:effect",
                "seq",
            )
        ),
        *(
            (f"<speak><say-as interpret-as='{kind}'>1</say-as></speak>", f"interpret-as of <say-as> is '{kind}'")
            for kind in ("expletive", "unit", "fraction", "time", "currency", "", "DIGITS")
        ),
        ("<speak><say-as interpret-as='digits'>two</say-as></speak>", "holds 'two', and must hold digits"),
        ("<speak><say-as interpret-as='cardinal'>1,2</say-as></speak>", "must hold a number"),
        ("<speak><say-as interpret-as='ordinal'>x</say-as></speak>", "must hold a whole number"),
        ("<speak><say-as interpret-as='telephone'>++</say-as></speak>", "must hold a telephone number"),
        ("<speak><say-as interpret-as='date'>3/2/24</say-as></speak>", "must hold a date, with a format of mdy"),
        ("<speak><say-as interpret-as='date' format='mdy'>13/1/2024</say-as></speak>", "must hold a date"),
        ("<speak><say-as interpret-as='digits' format='x'>1</say-as></speak>", "supported for a date only"),
        (f"<speak><{'x' * 10_000}/></speak>", "is not supported"),
    ],
)
def test_the_rest_is_refused_by_name(text, told) -> None:
    assert told in refusal(text)


def test_ordinals_and_dates_are_english() -> None:
    told = refusal('<speak><say-as interpret-as="ordinal">2</say-as></speak>', english=False)

    assert "must be one of characters, spell-out, digits, telephone, cardinal" in told


@pytest.mark.parametrize(
    "text",
    [
        "<speak>" + "<p>" * 16_000,
        "<speak>" + "<s>a</s>" * 6000 + "</speak>",
        "<speak>" + "<s/>" * 12_000 + "</speak>",
        "<speak>" + "<break/>" * 6000 + "</speak>",
        "<speak>" + "a<break/>" * (MAX_PARTS + 1) + "</speak>",
        "<!---->" * 7000 + "<speak>a</speak>",
        "<speak " + " ".join(f'xmlns:a{number}="x"' for number in range(3000)) + ">a</speak>",
        f"<speak><say-as interpret-as='telephone'>{'1' * 49_000}x</say-as></speak>",
        f"<speak><say-as interpret-as='cardinal'>{'1,' * 24_000}x</say-as></speak>",
        f"<speak><break time='{'0' * 49_000}s'/></speak>",
        "<speak>" + "&amp;" * 9000 + "</speak>",
    ],
    ids=lambda text: text[:20],
)
def test_a_large_one_costs_little(text) -> None:
    started = time.process_time()
    try:
        assert is_ssml(text[:50_000])
        parse(text[:50_000], english=True)
    except ServiceError:
        pass
    # It takes about 0.05 s. Ten times more would be too much, too; what grows with the square takes minutes.
    assert time.process_time() - started < 5


def test_the_text_without_tags_can_be_had() -> None:
    text = '<speak><p>The <sub alias="x">W3C</sub>:</p><p>two.<break/>Three</p></speak>'

    assert spoken_script.plain_text(text) == "The W3C: two. Three"
    assert spoken_script.plain_text("I <3 you") == "I <3 you"


@pytest.mark.parametrize("text", ["<speak/>", "<speak><break time='2s'/></speak>", "<speak> . </speak>"])
def test_without_a_word_there_is_nothing_to_say(text) -> None:
    with pytest.raises(ServiceError, match="The script has no words"):
        choose(text, voice=None, language=None)


def test_its_language_must_be_one_of_the_voice() -> None:
    assert choose('<speak xml:lang="en-GB">a</speak>', voice=None, language=None)["language"] == "en-GB"
    for text in ('<speak xml:lang="de-DE">a</speak>', '<speak><s xml:lang="de">a</s></speak>'):
        with pytest.raises(ServiceError) as caught:
            choose(text, voice="heart", language=None)
        assert (caught.value.code, caught.value.param) == ("script_unspeakable", "script")
        assert 'xml:lang "de' in caught.value.detail
    with pytest.raises(ServiceError, match='xml:lang is "de", but the voice heart speaks en'):
        choose('<speak xml:lang="de">a</speak>', voice=None, language="en")


def test_what_is_said_is_checked_and_not_the_tags() -> None:
    choose(f'<speak xmlns="http://www.w3.org/{"x" * 200}">Hello</speak>', voice=None, language=None)
    with pytest.raises(ServiceError, match="characters without a space"):
        choose(f"<speak>{'x' * 101}</speak>", voice=None, language=None)


def test_strengths_are_seconds() -> None:
    assert list(ssml.STRENGTHS.values()) == sorted(ssml.STRENGTHS.values())
