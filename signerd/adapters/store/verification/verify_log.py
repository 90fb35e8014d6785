"""The log, read for `signerd database verify`: what each entry is, and the state that follows from all.

A byte an entry says of which type it is, and whether a row was found for it. So that is what a ledger of any
size costs, beside the state of the administration and some 70 bytes a revocation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from signerd.adapters.store.tables.rows import seconds
from signerd.core.entry import (
    AdministratorsSet,
    CrlIssued,
    Issued,
    OperationsCaActivated,
    OperationsCaAdded,
    OperationsCaRetired,
    Revoked,
    Stamped,
)
from signerd.core.state.administration import State
from signerd.core.state.boards import Boards
from signerd.core.state.kinds import mentioned

ISSUED, STAMPED, REVOKED = 1, 2, 3
_BORNE = 0x80  # a row was found for it
_KINDS = {Issued.type: ISSUED, Stamped.type: STAMPED, Revoked.type: REVOKED}
NAMES = {code: name for name, code in _KINDS.items()}
_ONLY = {kind: [kind.encode()] for kind in (Issued.type, Stamped.type)}  # nearly all: not parsed
_STEPS = {
    OperationsCaAdded.type: "added_index",
    OperationsCaActivated.type: "activated_index",
    OperationsCaRetired.type: "retired_index",
}


@dataclass(slots=True)
class ReadLog:
    """What entries say, as far as they were read."""

    kinds: bytearray = field(default_factory=bytearray)
    state: State = field(default_factory=State)
    boards: Boards = field(default_factory=Boards)
    operations_cas: dict[bytes, dict[str, int]] = field(default_factory=dict)  # steps, by SHA-256
    administrators: dict[int, Mapping[str, Any]] = field(default_factory=dict)  # by index
    crl_number: int = 0  # the highest one
    crl_next_update: int = 0  # of the last one, in seconds since 1970

    @property
    def size(self) -> int:
        """Entries that were read."""
        return len(self.kinds)

    def add(self, data: bytes) -> None:
        """The next entry. Raises StateError, ValueError, KeyError: it does not follow from those before."""
        kinds = mentioned(data)
        if kinds == _ONLY[Issued.type]:
            self.boards.issued(data)
            self.kinds.append(ISSUED)
        elif kinds == _ONLY[Stamped.type]:
            self.kinds.append(STAMPED)
        else:
            self._parsed(json.loads(data), data)

    def _parsed(self, members: Mapping[str, Any], data: bytes) -> None:
        index, kind = self.size, members.get("type")
        if kind == Issued.type:
            self.boards.issued(data)
        elif kind == Revoked.type:
            self.boards.revoked(members)
        elif kind == CrlIssued.type:
            self.crl_number = max(self.crl_number, members["crl_number"])
            self.crl_next_update = seconds(datetime.fromisoformat(members["next_update"]))
        elif kind == AdministratorsSet.type:
            self.administrators[index] = members
        elif kind in _STEPS:
            step = {_STEPS[kind]: index}
            self.operations_cas.setdefault(bytes.fromhex(members["ca_sha256"]), {}).update(step)
        self.state = self.state.after(index, members)
        self.kinds.append(_KINDS.get(kind, 0) if isinstance(kind, str) else 0)

    def borne(self, index: object, kind: int) -> bool:
        """Notes that a row was found for this entry. False: it is of another type, or has one already."""
        if not isinstance(index, int) or index < 0:
            return False
        if index >= self.size:  # newer than what was read
            return True
        if self.kinds[index] != kind:
            return False
        self.kinds[index] |= _BORNE
        return True

    def without_row(self) -> Iterator[tuple[int, str]]:
        """Entries of boards for which none was found: index and type."""
        for index, kind in enumerate(self.kinds):
            if kind in NAMES:
                yield index, NAMES[kind]
