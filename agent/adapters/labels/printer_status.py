"""What a label printer says of itself: its answer to ZPL's `~HS`, three lines of fields.

`parse_status` takes the whole answer or refuses it. No text of an error holds any of it: the third line
begins with the printer's password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

ASK = b"~HS"
MAX_ANSWER = 1_024  # bytes; a right one has some 90
_LINES = 3
_END = b"\x03"
_ANY = rb"[0-9A-Za-z]{0,8}"  # a field that says nothing of use here
# Zebra's ZPL II Programming Guide, ~HS. Each line stands between STX and ETX, and ends with CR LF.
_FIRST = (
    rb"%(any)s,(?P<paper_out>[01]),(?P<paused>[01]),%(any)s,(?P<formats>[0-9]{1,5}),(?P<buffer_full>[01]),"
    rb"(?P<diagnostic>[01]),(?P<partial>[01]),%(any)s,(?P<settings_lost>[01]),(?P<cold>[01]),(?P<hot>[01])"
)
_SECOND = (
    rb"%(any)s,%(any)s,(?P<head_open>[01]),(?P<ribbon_out>[01]),(?P<needs_ribbon>[01]),%(any)s,%(any)s,%(any)s,"
    rb"(?P<remaining>[0-9]{1,8}),%(any)s,%(any)s"
)
_THIRD = rb"[^\x02\x03]{0,32},[01]"
_ANSWER = re.compile(
    rb"[\r\n]*"
    + rb"[\r\n]{0,2}".join(rb"\x02" + line + rb"\x03" for line in (_FIRST, _SECOND, _THIRD)) % {b"any": _ANY}
)
# What keeps it from printing: the flag, what is said of the printer, what to do. In the order of doing it.
_TROUBLES = (
    ("hot", "its head is too hot", "let it cool down"),
    ("cold", "its head is too cold", "let it warm up"),
    ("ribbon_out", "it has no ribbon left", "load ribbon"),
    ("paper_out", "it has no labels left", "load labels"),
    ("head_open", "its head is open", "close its head"),
    ("diagnostic", "it prints codes instead of labels (diagnostic mode)", "switch it off and on"),
    ("settings_lost", "it has lost its settings", "set it up again"),
    ("buffer_full", "its memory is full", "let it finish, or switch it off and on"),
    ("paused", "it is paused", "press its pause key"),
)


class NoStatusError(ValueError):
    """The bytes are no whole answer to `~HS`."""


@dataclass(frozen=True, slots=True)
class PrinterStatus:
    """One answer. `troubles`: the flags of `_TROUBLES` that are set."""

    troubles: frozenset[str]
    done: bool  # nothing is left to print, and nothing is half received

    @property
    def ready(self) -> bool:
        """True where a label that is sent now comes out."""
        return not self.troubles

    @property
    def stuck(self) -> bool:
        """True where the label that it has does not come out by itself."""
        return not self.troubles <= {"buffer_full"}  # which the label itself may have filled

    def said(self) -> str:
        """What is wrong with it."""
        return " and ".join(said for flag, said, _ in _TROUBLES if flag in self.troubles)

    def to_do(self) -> str:
        """What a person does about it, as the beginning of a sentence."""
        text = ", ".join(todo for flag, _, todo in _TROUBLES if flag in self.troubles)
        return text[:1].upper() + text[1:]


def is_whole(answer: bytes) -> bool:
    """True once nothing more of an answer is to come, or it is too long for one."""
    return answer.count(_END) >= _LINES or len(answer) > MAX_ANSWER


def parse_status(answer: bytes) -> PrinterStatus:
    """Raises NoStatusError, whose text holds nothing of the answer."""
    found = _ANSWER.fullmatch(answer.rstrip(b"\r\n")) if len(answer) <= MAX_ANSWER else None
    if found is None:
        raise NoStatusError("it is no answer to ~HS")
    flags = {flag for flag, _, _ in _TROUBLES if found[flag] == b"1"}
    if found["needs_ribbon"] == b"0":
        flags -= {"ribbon_out"}
    left = int(found["formats"]) + int(found["remaining"]) + int(found["partial"])
    return PrinterStatus(frozenset(flags), done=left == 0)
