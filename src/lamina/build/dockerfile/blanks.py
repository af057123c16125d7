"""Which characters are blanks: the ones that the reference implementation trims and splits at.

Python's own idea of white space differs (it has the separators U+001C to U+001F too), and a Dockerfile must mean the
same everywhere.
"""

from __future__ import annotations

import re

#: Characters with Unicode's property White_Space: what is trimmed at the ends of lines and words.
BLANKS = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))

#: A word of a plain list: these blanks alone separate the words of FROM, COPY, EXPOSE and the like.
PLAIN_WORD = re.compile(r"[^\t\v\f\r ]+")


def is_blank(character: str) -> bool:
    """Tell whether `character` (one, or "" at the end of a text) is white space."""
    return character != "" and character in BLANKS
