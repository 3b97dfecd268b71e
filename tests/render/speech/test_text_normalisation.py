"""Scripts as people type and paste them, in letters that a voice can read."""

import time

import pytest

from accounts.errors import ServiceError
from render.speech.registry import choose, left_out
from render.speech.spoken_script import MAX_LEFT_OUT
from render.speech.text_normalisation import normalise_text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("It is 5 \u00b5m thin.", "It is 5 micrometers thin."),
        ("1 \u03bcs, 20\u03bcg/l, 3 \u339b", "1 microsecond, 20 micrograms/l, 3 micrometers"),
        ("\u03bcTorrent, \u03bc-law", " micro Torrent, mu-law"),
        ("The 1\u00ba floor, the 3\u00aa, the 11\u00ba, the 22.\u00ba", "The 1st floor, the 3rd, the 11th, the 22nd"),
        ("20\u00baC, n\u00ba 5, \u2116 6", "20\u00b0C, number 5, number 6"),
        ("Don\u02bct, don\u2019t, don\u00b4t, don`t, \u0149", "Don't, don't, don't, don't, 'n"),
        ("\uff28\uff45\uff4c\uff4c\uff4f\u3000there\uff01", "Hello there!"),
        ("\U0001d407\U0001d41e\U0001d425\U0001d425\U0001d428", "Hello"),
        ("\u029c\u1d07\u029f\u029f\u1d0f \U0001f177\U0001f178 \u24bd\u24d8", "hello HI Hi"),
        ("\ufb01ne o\ufb03ce \u0133", "fine office ij"),
        ("soft\u00adhy\u200bphen\u2060, \ufeffa\u200db", "softhyphen, ab"),
        ("\u202eright\u202c \u200fleft\u200e", "right left"),
        ("Z\u0337\u0327a\u0334l\u0335g\u0335o\u0334", "Zalgo"),
        ("cafe\u0301 na\u00efve \u0141\u00f3d\u017a \u1ebf", "caf\u00e9 na\u00efve \u0141\u00f3d\u017a e"),
        ("4.7 k\u2126, 1 \u03a9, 2\u03a9, in M\u03a9", "4.7 kiloohms, 1 ohm, 2 ohms, in megaohms"),
        ("\u03c0, 2\u03c0r, the \u03b1-version, \u0394x, \u03bb", "pi, 2 pi r, the alpha-version, delta x, lambda"),
        ("3 \u212b, 1 \u00c5, \u00c5sa", "3 angstroms, 1 angstrom, \u00c5sa"),
        ("5 m\u00b2, 6 km\u00b3, x\u00b2, 10\u2076, 10\u207b\u00b3", "5 square meters, 6 cubic kilometers, x squared , "
         "10 to the power of 6 , 10 to the power of minus 3 "),
        ("1\u00bd, \u00be, \u2154", "1 and 1/2, 3/4, 2/3"),
        ("5\u03bc, 5 \u03bc; 3 \u33a1", "5 micro , 5 micro ; 3 square meters"),
        ("CO\u2082, 20\u2103, \u2167, \u0664\uff15\u2776\u2460", "CO2, 20\u00b0C, VIII, 4511"),
        ("a \u2264 b \u2260 c, \u22125 \u2122", "a less than or equal to b not equal to c, -5 "),
        ("a\u2028b\u2029c\x85d\re\x0bf", "a\nb\nc\nd\ne\nf"),
        ("wait\u2026 \u201cyes\u201d \u2014 no", "wait\u2026 \u201cyes\u201d \u2014 no"),
        ("plain text, 1st of May: $5 & 50 %", "plain text, 1st of May: $5 & 50 %"),
    ],
)  # fmt: skip
def test_what_is_said(text, said) -> None:
    assert normalise_text(text, english=True) == said


def test_another_language_keeps_its_own_signs() -> None:
    text = "1\u00ba m\u00b2 \u00bd \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u201eja\u201c 5 \u03bcm"

    assert normalise_text(text, english=False) == text
    assert normalise_text("\uff28\uff49\u200b \ufb01\u00ad\u202c \ufdfa", english=False) == "Hi fi \ufdfa"


@pytest.mark.parametrize(
    ("text", "skipped"),
    [
        ("Great \U0001f44d\U0001f3fd, \u2764\ufe0f thanks \u2605!", ["\U0001f44d", "\u2764", "\u2605"]),
        ("Its composer was Пётр, as everybody knows who has read about the music of that time.", list("Пётр")),
        ("A long text about many things that ends with a \u6c49 and no more.", ["\u6c49"]),
        ("It is 5 \u00b5m thin, on the 1\u00ba floor.", []),
        ("\u00a9 2024 \u00a7 5, 3 \u00d7 4 \u00b1 2, \u20ac5, 7 \u00b0C", []),
    ],
)
def test_a_little_is_left_out_and_named(text, skipped) -> None:
    assert left_out(choose(text, voice=None, language=None)) == skipped


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("\u043c\u0438\u0440, \u0448\u0448\u0448", "\u043c \u0438 \u0440 \u0448 (6 of 6 letters)"),
        ("Hello \u4f60\u597d", "\u4f60 \u597d (2 of 7 letters)"),
        ("\u03a0\u03ad\u03c4\u03c1\u03bf\u03c2 says", "6 of 10 letters"),
        ("<speak><s>Hello</s><s>\u0448\u0448\u0448</s></speak>", "\u0448 (3 of 8 letters)"),
        ("word " * 2000 + "\u0448" * (MAX_LEFT_OUT + 1), "101 of 8101 letters"),
    ],
)  # fmt: skip
def test_more_is_refused_with_its_letters(text, named) -> None:
    with pytest.raises(ServiceError) as caught:
        choose(text, voice=None, language=None)

    assert caught.value.code == "script_unspeakable"
    assert f"cannot read: {named}" in caught.value.detail or named in caught.value.detail


@pytest.mark.parametrize("text", ["\U0001f600\U0001f468\u200d\U0001f469", "\u0301\u200b", "\u2605 \u2192"])
def test_what_has_no_word_is_refused(text) -> None:
    with pytest.raises(ServiceError, match="The script has no words"):
        choose(text, voice=None, language=None)


@pytest.mark.parametrize(
    "unit",
    ["1", "1,", "1 ", "\u03b1 ", "x\u00b2 ", "1 \u03bc", "1 \u03a9", "k\u03a9 ", "\u212b", "\ufdfa", "\u0301", "\u1100"]
    + ["\u00ba", "1\u00ba", "\u00bd", "\u2126", "\u00b2"],
)
def test_a_large_one_costs_little(unit) -> None:
    started = time.process_time()
    normalise_text((unit * 50_000)[:50_000], english=True)
    # It takes 0.2 s at most; what grows with the square of the length takes minutes.
    assert time.process_time() - started < 5
