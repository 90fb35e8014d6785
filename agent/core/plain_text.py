"""Texts that others may have made, as a terminal may show them."""

from __future__ import annotations


def plain(text: str) -> str:
    """The text, each character that cannot be printed as `?`."""
    return "".join(c if c.isprintable() else "?" for c in text)
