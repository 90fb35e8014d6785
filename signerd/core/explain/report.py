"""What `signerd explain` says of a file, as values: for people and machines alike.

Every text in it that comes from the file is cut and has no control characters: the file is a stranger's, and
the text goes to an administrator's terminal.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

_MAX_SHOWN = 300  # characters of what a file says of itself


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WRONG = "wrong"  # what would be refused
    OPEN = "open"  # only a session, or something that is not in the file, can tell
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Line:
    """One check of the file itself, or one fact."""

    state: State
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class MethodVerdict:
    """What one method would make of the file."""

    method: str
    reason: str  # why not; or what else must hold
    accepted: bool | None = True  # None: it takes nothing of this kind
    remedy: str = ""
    level: str = ""  # the highest that it can reach
    chip_id: str = ""  # that the rule takes
    chip_id_rule: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would become of the file."""

    kind: str
    lines: tuple[Line, ...]
    methods: tuple[MethodVerdict, ...] = ()

    @property
    def accepted(self) -> bool:
        """True where nothing speaks against it: no check is wrong, and of the methods asked one takes it."""
        asked = [verdict.accepted for verdict in self.methods]
        return all(line.state is not State.WRONG for line in self.lines) and (not asked or True in asked)


def shown(text: str) -> str:
    """Text from the file, as it may be printed."""
    safe = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return safe if len(safe) <= _MAX_SHOWN else f"{safe[:_MAX_SHOWN]}…"
