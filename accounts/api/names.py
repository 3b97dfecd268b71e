"""Characters that are allowed in names: of files, of metadata keys and of fields."""

import unicodedata

# Control characters (also NUL, tabs and line breaks), halves of surrogate pairs, which Postgres cannot store, and the
# line and paragraph separators. Everything else occurs in real file names: non-breaking spaces, the joiners of emoji
# and of Indic letters, direction marks, private-use characters.
REFUSED_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}
RULE = "no control characters and no line breaks"


def is_name(text: str) -> bool:
    return not any(unicodedata.category(character) in REFUSED_CATEGORIES for character in text)
