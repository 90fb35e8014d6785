"""What stands in a cell: of a terminal's table, and of a CSV file that a spreadsheet opens.

A ledger may hold names that somebody made up to do harm: escapes that move a terminal's cursor, marks that
turn the direction of a line, line breaks that begin another row, and formulas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_FORMULA = frozenset("=+-@\t\r\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}"
                     "\N{FULLWIDTH COMMERCIAL AT}")  # fmt: skip
"""With these a spreadsheet begins to compute; some take the wide ones of East Asian fonts too."""


def spelled(text: str) -> str:
    """The text, each character that is not printed for itself as its escape: `\\x1b`, `\\u202e`.

    These are controls, line ends, marks of direction and width, and code points that no character has
    (Unicode's categories Cc, Cf, Cs, Co, Cn, Zl, Zp, and blanks other than the space).
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shown(value: object) -> str:
    """One value in one line."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{shown(key)} {shown(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(shown(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return spelled(str(value))


def csv_cell(value: object) -> str:
    """The same, so that no spreadsheet takes it for a formula: text that begins like one gets an apostrophe
    before it. Numbers stay numbers."""
    text = shown(value)
    if isinstance(value, int | float) or not text or text[0] not in _FORMULA:
        return text
    return f"'{text}"
