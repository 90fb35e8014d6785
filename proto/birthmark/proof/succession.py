"""Successors of a log: what proves that a log which lost its end goes on under another name.

Guarantees: `open_succession` returns only what an operations CA has signed, in an entry that stands in a tree
which a pinned key of the log has signed under the successor's name. Neither key alone is enough. An older
succession is genuine too: whoever follows keeps the highest number.

    succession = open_succession(data, [parse_vkey(pinned)], operations_cas)
    succession.demand_known(checkpoint)         # what was seen of a log before
    keys = succession.keys([parse_vkey(pinned)])  # the same keys, under the successor's name

A succession is the entry `log_succeeded` in one line, and then its receipt (docs/formats.md, "Successors").
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from birthmark.proof.checkpoint import Checkpoint
from birthmark.proof.errors import ProofError, Reason, malformed
from birthmark.proof.note import VerifierKey
from birthmark.proof.receipt import MAX_RECEIPT_BYTES, verify_receipt
from birthmark.proof.spelling import HASH_SIZE

MAX_SUCCESSION_BYTES = MAX_RECEIPT_BYTES + 65_536  # an entry has 65,535 at most
MAX_NUMBER = 99
SUCCESSION_PATH = "succession"  # beside a log's `checkpoint`
_LABEL = b"birthmark-succession-v1\n"
_SUFFIX = re.compile(r"(.+)/successor-([2-9]|[1-9][0-9])")
_MAX_SIZE = 2**53


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The last checkpoint that is known of a log before, and how many of its entries went on."""

    number: int  # 1: the log as it was opened
    size: int
    root: bytes
    continued: int


@dataclass(frozen=True, slots=True)
class Succession:
    """One that was verified, unless `parse_succession` made it."""

    log: str  # the name of the log as it was opened
    number: int
    continued: int  # entries that went on
    root: bytes  # of their tree
    predecessors: tuple[Predecessor, ...]
    signature: bytes
    entry: bytes
    receipt: bytes

    @property
    def origin(self) -> str:
        """The successor's name."""
        return f"{self.log}/successor-{self.number}"

    @property
    def lost(self) -> int:
        """How many entries of the log before are lost."""
        return self.predecessors[-1].size - self.predecessors[-1].continued

    def statement(self) -> bytes:
        """What the operations CA signs: canonical JSON (RFC 8785) behind a label."""
        said = {
            "log": self.log,
            "number": self.number,
            "continued": self.continued,
            "root": self.root.hex(),
            "predecessors": [
                {
                    "number": each.number,
                    "size": each.size,
                    "root": each.root.hex(),
                    "continued": each.continued,
                }
                for each in self.predecessors
            ],
        }
        # ASCII names, ASCII values and integers: sorted and without spaces, this is RFC 8785's form.
        return _LABEL + json.dumps(said, sort_keys=True, separators=(",", ":")).encode("ascii")

    def demand_signed(self, cas: Sequence[x509.Certificate]) -> None:
        """Raises ProofError, UNSIGNED, unless one of these operations CAs signed it. That is half of what it
        needs: see `open_succession`."""
        text = self.statement()
        for ca in cas:
            key = ca.public_key()
            if not isinstance(key, ec.EllipticCurvePublicKey):
                continue
            try:
                key.verify(self.signature, text, ec.ECDSA(hashes.SHA256()))
            except InvalidSignature:
                continue
            return
        raise ProofError(Reason.UNSIGNED, "no operations CA that is trusted signed the succession")

    def keys(self, pinned: Sequence[VerifierKey]) -> list[VerifierKey]:
        """The pinned keys under the successor's name."""
        return [VerifierKey(self.origin, key.public_key) for key in pinned]

    def demand_heads(self, head: Checkpoint) -> None:
        """Raises ProofError, NOT_PROVED, unless this checkpoint is of the successor."""
        if head.origin != self.origin:
            raise ProofError(Reason.NOT_PROVED, f"the succession is not that of {head.origin}")

    def demand_known(self, seen: Checkpoint) -> None:
        """Raises ProofError, NOT_PROVED, unless it says what became of this checkpoint of a log before: in
        the successor, where the reader has yet to compare, or lost."""
        log, number = log_name(seen.origin)
        if log != self.log or number >= self.number:
            raise ProofError(Reason.NOT_PROVED, "the succession is older than what was seen")
        known = self.predecessors[number - 1]
        if seen.size > known.size:
            raise ProofError(
                Reason.NOT_PROVED,
                f"a checkpoint over {seen.size} entries was seen of {seen.origin}, and the succession speaks"
                f" of"
                f" {known.size}: more was lost than it says",
            )
        if seen.size == known.size and seen.root != known.root:
            raise ProofError(
                Reason.NOT_PROVED, f"another tree of {seen.size} entries was seen than the succession names"
            )

    def demand_continues(self, earlier: Succession) -> None:
        """Raises ProofError, NOT_PROVED, unless it knows all that an earlier succession named: a later one
        hides nothing of a loss that was said before."""
        for each in earlier.predecessors:
            origin = self.log if each.number == 1 else f"{self.log}/successor-{each.number}"
            self.demand_known(Checkpoint(origin, each.size, each.root, b""))

    def is_lost(self, seen: Checkpoint) -> bool:
        """Whether this checkpoint of a log before is of the part that is lost. Else the successor's tree has
        it, which the reader has yet to see proven."""
        return seen.size > self.predecessors[log_name(seen.origin)[1] - 1].continued


def log_name(origin: str) -> tuple[str, int]:
    """The name of the log as it was opened, and which one of its successors bears this name; 1: none."""
    found = _SUFFIX.fullmatch(origin)
    return (origin, 1) if found is None else (found[1], int(found[2]))


def open_succession(data: bytes, keys: Sequence[VerifierKey], cas: Sequence[x509.Certificate]) -> Succession:
    """Verifies a succession.

    Args:
        data: an entry, a newline, its receipt.
        keys: of the log, pinned, under any of its names. One of them must have signed.
        cas: the operations CAs that are trusted. One of them must have signed, unless a key is pinned under
            the successor's own name: then a person has said that it is one, and the CA of then may be gone.

    Raises:
        ProofError: MALFORMED, also where it is another log's; UNSIGNED; WRONG_SIGNATURE; or NOT_PROVED.
    """
    names = {log_name(key.name)[0] for key in keys}
    if len(names) != 1:
        raise malformed("a succession is opened with keys of one log")
    found = parse_succession(data, names.pop())
    if found.origin not in {key.name for key in keys}:
        found.demand_signed(cas)
    verified = verify_receipt(found.receipt, found.entry, found.keys(keys))
    if verified.index - found.continued not in (0, 1):  # an approval is an entry before it
        raise ProofError(Reason.NOT_PROVED, "the succession stands elsewhere than it says")
    return found


def parse_succession(data: bytes, log: str) -> Succession:
    """Reads a succession of this log, and verifies nothing. Raises ProofError."""
    if len(data) > MAX_SUCCESSION_BYTES:
        raise malformed(f"a succession of more than {MAX_SUCCESSION_BYTES} bytes")
    entry, separator, receipt = data.partition(b"\n")
    try:
        members = json.loads(entry.decode("ascii"), object_pairs_hook=_once)
        if not separator or members["type"] != "log_succeeded":
            raise malformed("no log_succeeded entry with its receipt")
        found = Succession(
            log,
            _integer(members["number"], 2, MAX_NUMBER),
            _integer(members["continued"]),
            _hash(members["root"]),
            tuple(map(_predecessor, members["predecessors"])),
            bytes.fromhex(members["signature"]),
            entry,
            receipt,
        )
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise error if isinstance(error, ProofError) else malformed("no log_succeeded entry") from error
    if members.get("origin") != found.origin:
        raise malformed("a succession of another log")
    if [each.number for each in found.predecessors] != list(range(1, found.number)):
        raise malformed("a succession names each log before, in their order")
    if any(each.continued > min(each.size, found.continued) for each in found.predecessors):
        raise malformed("a succession continues more entries than there were")
    return found


def _predecessor(members: Any) -> Predecessor:
    return Predecessor(
        _integer(members["number"], 1, MAX_NUMBER),
        _integer(members["size"]),
        _hash(members["root"]),
        _integer(members["continued"]),
    )


def _integer(value: object, least: int = 0, most: int = _MAX_SIZE) -> int:
    if type(value) is not int or not least <= value <= most:
        raise malformed("a number of a succession is out of bounds")
    return value


def _hash(value: object) -> bytes:
    found = bytes.fromhex(value) if isinstance(value, str) else b""
    if len(found) != HASH_SIZE or found.hex() != value:
        raise malformed("a root is 64 hexadecimal digits, in small letters")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise malformed("a member appears twice")
    return members
