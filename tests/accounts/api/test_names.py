import pytest

from accounts.api.names import is_name

FROM_MACHINES = [
    "Screenshot 2026-11-28 at 9.41.00\u202fAM.png",  # macOS
    "photo\u00a0de moi.png",
    "\u3000全角.png",
    "\U0001f469\u200d\U0001f680.png",  # emoji of several, joined
    "\u2764\ufe0f.png",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f.png",  # a flag of tags
    "\U0001fae9.png",  # younger than this Python's tables may be
    "\u0915\u094d\u200d\u0937.png",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645.png",  # Persian
    "\u200f\u0635\u0648\u0631\u0629 (1)\u200e.png",
    "\u2067name\u2069 \u202bname\u202c.png",
    "e\u0301te\u0301.png",  # as HFS+ spells it
    "\uf8ff logo.png",  # Apple's own
    "soft\u00adhyphen.png",
    "\ufeffbom.png",
    "a/b:c\\d.png",
]


@pytest.mark.parametrize("name", FROM_MACHINES, ids=ascii)
def test_a_name_is_what_machines_make(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize(
    "character",
    ["\0", "\t", "\n", "\r", "\x1b", "\x7f", "\x85", "\x9f", "\u2028", "\u2029", "\ud800", "\udfff"],
    ids=ascii,
)
def test_what_breaks_lines_databases_and_terminals_is_in_no_name(character: str) -> None:
    assert not is_name(f"a{character}b")
