"""What the log says of boards, kept small: the highest place that was issued in each order, and revocations.

A revocation takes some 70 bytes, so that a million of them fit a machine of any size. Written by one thread,
and read by others meanwhile: nothing is ever taken out.
"""

from __future__ import annotations

import re
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from struct import iter_unpack
from typing import Any

from signerd.core.state.times import moment
from signerd.core.state.values import StateError

MAX_SERIAL = (
    32  # octets of a certificate's serial (RFC 5280 §4.1.2.2: 20; logs of before were not held to it)
)
_DIGEST = 32
_PREFIX = 8  # octets of a digest that revocations are found by
_PREFIXES = ">Q24x"  # of digests, one after the other
_PACKED = _DIGEST + MAX_SERIAL + 8 + 1
_UNSORTED = 65_536  # revocations: sorting each time would cost a million of them a minute
# Canonical JSON: a number is no text, and no other member of an `issued` entry holds one of this name.
_NUMBER = re.compile(rb'"number":(\d+)')
_ORDER = b'"work_order":"'  # the last member: what stands before it may be the board's word


@dataclass(frozen=True, slots=True)
class Revocation:
    """One certificate that counts no more."""

    certificate_sha256: bytes
    certificate_serial: int
    revoked_at: datetime
    reason: str


class Revocations:
    """All of them, in the order of the log."""

    def __init__(self) -> None:
        self._prefixes = array("Q")  # of the digests, sorted, but for those of `_newest`
        self._newest: set[int] = set()
        self._digests = bytearray()
        self._serials = bytearray()
        self._moments = array("q")
        self._reasons = bytearray()
        self._names: list[str] = []  # of reasons

    def __len__(self) -> int:
        return len(self._moments)

    def __iter__(self) -> Iterator[Revocation]:
        for at in range(len(self)):
            yield Revocation(
                bytes(self._digests[at * _DIGEST :][:_DIGEST]),
                int.from_bytes(self._serials[at * MAX_SERIAL :][:MAX_SERIAL], "big"),
                datetime.fromtimestamp(self._moments[at], UTC),
                self._names[self._reasons[at]],
            )

    def add(self, revocation: Revocation) -> None:
        """One more. Raises ValueError, OverflowError: it is of another form."""
        if len(revocation.certificate_sha256) != _DIGEST:
            raise ValueError("no SHA-256 of a certificate")
        serial = revocation.certificate_serial.to_bytes(MAX_SERIAL, "big")
        if revocation.reason not in self._names:
            self._names.append(revocation.reason)
        self._digests += revocation.certificate_sha256
        self._serials += serial
        self._reasons.append(self._names.index(revocation.reason))
        self._moments.append(int(revocation.revoked_at.timestamp()))
        self._newest.add(_prefix(revocation.certificate_sha256))
        if len(self._newest) == _UNSORTED:  # others may look meanwhile: in one of the two they find it
            self._prefixes = array("Q", sorted((*self._prefixes, *self._newest)))
            self._newest = set()

    def packed(self) -> tuple[list[str], bytes]:
        """All of them: the names of reasons, and the columns one after the other, integers big-endian. 73
        octets each."""
        moments = array("q", self._moments)
        if sys.byteorder == "little":
            moments.byteswap()
        columns = (self._digests, self._serials, moments.tobytes(), self._reasons)
        return list(self._names), b"".join(columns)

    def unpack(self, names: Sequence[str], data: bytes) -> None:
        """Into an empty one, what `packed` gave."""
        count = len(data) // _PACKED
        at_serials, at_moments = _DIGEST * count, (_DIGEST + MAX_SERIAL) * count
        at_reasons = len(data) - count
        self._names = list(names)
        self._digests += data[:at_serials]
        self._serials += data[at_serials:at_moments]
        self._moments.frombytes(data[at_moments:at_reasons])
        if sys.byteorder == "little":
            self._moments.byteswap()
        self._reasons += data[at_reasons:]
        self._prefixes = array("Q", sorted(each for (each,) in iter_unpack(_PREFIXES, data[:at_serials])))

    def hold(self, certificate_sha256: bytes) -> bool:
        """Whether this certificate is revoked. By 64 bits of its digest: another one that has the same ones
        is refused like it, which the CA would have to sign 2**32 certificates for."""
        wanted = _prefix(certificate_sha256)
        if wanted in self._newest:
            return True
        prefixes = self._prefixes
        at = bisect_left(prefixes, wanted)
        return at < len(prefixes) and prefixes[at] == wanted


class Boards:
    """What is kept of the entries of boards."""

    def __init__(self) -> None:
        self.highest: dict[str, int] = {}  # place, by work order
        self.revocations = Revocations()

    def issued(self, data: bytes) -> None:
        """An `issued` entry, by its bytes: there is one a board. Raises StateError: it is of another form."""
        number, at = _NUMBER.search(data), data.rfind(_ORDER) + len(_ORDER)
        if number is None or at < len(_ORDER):
            raise StateError("an issued entry without a place")
        self.took(data[at : data.index(b'"', at)].decode(), int(number[1]))

    def took(self, work_order: str, number: int) -> None:
        """A place has a certificate."""
        if number > self.highest.get(work_order, 0):
            self.highest[work_order] = number

    def revoked(self, members: Mapping[str, Any]) -> None:
        """A `revoked` entry. Raises StateError."""
        try:
            revocation = Revocation(
                bytes.fromhex(members["certificate_sha256"]),
                int(members["certificate_serial"], 16),
                moment(members["time"]),
                members["reason"],
            )
            self.revocations.add(revocation)
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            raise StateError(f"a revoked entry of another form: {error}") from error


def _prefix(digest: bytes) -> int:
    return int.from_bytes(digest[:_PREFIX], "big")
