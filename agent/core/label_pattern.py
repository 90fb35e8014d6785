"""Texts with fields, as a label's template has them: `S/N {serial}`; `{{` and `}}` are braces.

Nothing but the fields named here can be written: no attribute, index, conversion or format. What is filled in
is data, and never looked at for fields again.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass

from agent.core.label import Label

POP = "pop"
PORT = "port"
_READ: dict[str, Callable[[Label], str]] = {
    "serial": lambda label: label.serial_number,
    "chip_id": lambda label: label.chip_id,
    "chip_tail": lambda label: label.chip_tail,
    "model": lambda label: label.model,
    "work_order": lambda label: label.work_order,
    PORT: lambda label: label.port,
    POP: lambda label: label.code,
}
FIELDS = tuple(_READ)


class LabelContentError(ValueError):
    """What a board says, or how its port is called, cannot stand on the label. Never shows the code."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text with fields. `parts` are (literal, name of the field after it, or "")."""

    parts: tuple[tuple[str, str], ...]

    @property
    def fields(self) -> frozenset[str]:
        """Names of the fields in it."""
        return frozenset(name for _, name in self.parts if name)

    @property
    def literals(self) -> str:
        """What it says without its fields."""
        return "".join(literal for literal, _ in self.parts)

    @property
    def beginning(self) -> str:
        """What stands before the first field."""
        beginning = ""
        for literal, name in self.parts:
            beginning += literal
            if name:
                break
        return beginning

    def fill(self, label: Label, encode: Callable[[str], str] = str) -> str:
        """The text of this label; `encode` is applied to each field's value.

        Raises:
            LabelContentError: a value is empty, or has a character that no printer prints.
        """
        return "".join(
            literal + (encode(_value(name, label)) if name else "") for literal, name in self.parts
        )


def parse_pattern(text: str) -> Pattern:
    """Reads a text with fields. Raises ValueError, which says what is wrong."""
    if not text.isprintable():
        raise ValueError("has a character that cannot be printed")
    try:
        found = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"{error}; a brace that is to be printed is written twice") from error
    for _, name, form, conversion in found:
        if name is not None and (name not in FIELDS or form or conversion):
            written = name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
            raise ValueError(f"there is no field {{{written}}}; use {{{'}, {'.join(FIELDS)}}}")
    return Pattern(tuple((literal, name or "") for literal, name, _, _ in found))


def _value(name: str, label: Label) -> str:
    value = _READ[name](label)
    if not value:
        raise LabelContentError(f"{{{name}}} is empty for this board")
    if not value.isprintable():
        raise LabelContentError(f"{{{name}}} has a character that cannot be printed")
    return value
