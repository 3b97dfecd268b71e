"""Which characters the name of a file, of a key of metadata or of a field may have."""

import unicodedata

# Control characters, which are also NUL, tabs and ends of lines; halves of surrogate pairs, which no database takes;
# and the two separators that end a line or a paragraph. All else is in names that people's machines make: spaces
# without a break, joiners of emoji and of Indic letters, marks of direction, letters for private use.
REFUSED = {"Cc", "Cs", "Zl", "Zp"}
RULE = "no control characters and no line breaks"


def is_name(text: str) -> bool:
    return not any(unicodedata.category(character) in REFUSED for character in text)
