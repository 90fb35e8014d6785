"""How a simulated board misbehaves: a list of faults, each for some commands and for a number of times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

ALWAYS = -1

COMMANDS = ("hello", "keygen", "request", "credential", "config", "stamp", "seal", "pop")


class Kind(StrEnum):
    """What goes wrong. In brackets: what `value` means."""

    NOISE = "noise"  # junk bytes and log fragments before each line of the answer
    BOOT_LOG = "boot_log"  # whole log lines before each line of the answer
    LOSE_ANSWER = "lose_answer"
    LATE_ANSWER = "late_answer"  # [seconds]
    DUPLICATE_ANSWER = "duplicate_answer"
    WRONG_SEQUENCE = "wrong_sequence"
    CUT_ANSWER = "cut_answer"  # it ends in the middle
    BAD_CRC = "bad_crc"
    RESET_BEFORE = "reset_before"  # the command is lost in a reset
    RESET_AFTER = "reset_after"  # the command took effect, and the answer is lost in a reset
    RESET_AT_BYTE = (
        "reset_at_byte"  # [offset] during a transfer, before the chunk that covers it takes effect
    )
    RESET_IN_KEYGEN = "reset_in_keygen"
    KEYGEN_SLOW = "keygen_slow"  # [seconds]
    KEYGEN_FAILS = "keygen_fails"
    STORAGE_FULL = "storage_full"
    WRONG_DIGEST = "wrong_digest"  # the content read back differs by one bit
    ACCEPTS_ANY_CERTIFICATE = "accepts_any_certificate"
    EXTRA_KEYS = "extra_keys"  # a vendor's own keys in the answer
    STAMP_LIES = "stamp_lies"  # [name of the stamp's field]
    STALE_EVIDENCE = "stale_evidence"  # over another challenge than the session's
    SILENT = "silent"
    ANSWER = "answer"  # [map] is answered in place of the truth, as it is


@dataclass(slots=True)
class Fault:
    """`skip` matching occasions pass first; then it happens `times` times (ALWAYS: without end)."""

    kind: Kind
    times: int = 1
    command: str | None = None  # of COMMANDS; None: any
    skip: int = 0
    value: object = None


class Faults:
    """The faults of one board. `take` is asked on each occasion."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._faults = list(faults)

    @classmethod
    def from_json(cls, items: Iterable[dict[str, object]]) -> Faults:
        """Makes faults of maps with the fields of `Fault`: `[{"kind": "lose_answer", "times": 2}]`."""
        return cls(_fault(item) for item in items)

    def take(self, kind: Kind, command: str | None = None, *, offset: int | None = None) -> Fault | None:
        """The fault of this kind that happens now, counted down; or None."""
        for fault in self._faults:
            if fault.kind is not kind or fault.times == 0:
                continue
            if fault.command is not None and fault.command != command:
                continue
            if offset is not None and not (isinstance(fault.value, int) and offset > fault.value):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if fault.times > 0:
                fault.times -= 1
            return fault
        return None


def _fault(item: dict[str, object]) -> Fault:
    times, skip, command = item.get("times", 1), item.get("skip", 0), item.get("command")
    known = item.keys() <= {"kind", "times", "command", "skip", "value"}
    if (
        not known
        or not isinstance(times, int)
        or not isinstance(skip, int)
        or command not in (None, *COMMANDS)
    ):
        raise ValueError(f"not a fault: {item}")
    return Fault(
        Kind(str(item["kind"])), times, None if command is None else str(command), skip, item.get("value")
    )
