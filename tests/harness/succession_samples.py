"""Successions of a small log, made by signerd's own parts: what a follower is given, and what a thief could
make."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signerd.adapters.operations_ca import OperationsCa, create_ca, digest
from signerd.core import receipt
from signerd.core.entry import ID_BYTES, LogSucceeded, encode
from signerd.core.merkle import Tree, leaf_hash
from signerd.core.note import Checkpoint, VerifierKey, sign_note
from signerd.core.succession import Predecessor, origin_of, statement, succession_file

LOG = "log.example/line"
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
LEFT, KNOWN = 3, 5  # entries that are left, and of the last known checkpoint
LOST_ROOT = hashlib.sha256(b"lost").digest()


@cache
def company(name: str = "acme") -> OperationsCa:
    """An operations CA."""
    return create_ca(name, NOW)


@cache
def log_key(seed: bytes = b"the log's") -> Ed25519PrivateKey:
    """A key of a log."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed).digest())


@dataclass(frozen=True)
class Sample:
    """What is signed, and by whom."""

    log: str = LOG
    number: int = 2
    continued: int = LEFT
    predecessors: tuple[Predecessor, ...] = (Predecessor(1, KNOWN, LOST_ROOT, LEFT),)
    ca: OperationsCa | None = None  # the company's
    key: Ed25519PrivateKey | None = None  # the log's
    said: Sample | None = None  # what the CA signed, if that is another one

    def verifier(self, origin: str = "") -> VerifierKey:
        """The key that signs the tree."""
        return VerifierKey(origin or self.log, (self.key or log_key()).public_key().public_bytes_raw())

    def tree(self, size: int) -> Tree:
        """Of the entries that are left."""
        tree = Tree()
        for number in range(size):
            tree.append(leaf_hash(b"entry %d" % number))
        return tree

    def note(self, size: int, *, number: int = 1, root: bytes = b"") -> bytes:
        """A checkpoint of one of the logs."""
        origin = origin_of(self.log, number)
        body = Checkpoint(origin, size, root or self.tree(size).root()).body()
        return sign_note(body, (self.verifier(origin), (self.key or log_key()).sign(body)))

    def statement(self) -> bytes:
        """What the operations CA signs."""
        root = self.tree(self.continued).root()
        return statement(self.log, self.number, self.continued, root, self.predecessors)

    def entry(self) -> bytes:
        """`log_succeeded`."""
        ca, origin = self.ca or company(), origin_of(self.log, self.number)
        signed = (self.said or self).statement()
        return encode(
            LogSucceeded(
                time=NOW,
                by="ann",
                number=self.number,
                origin=origin,
                vkey=self.verifier(origin).text(),
                continued=self.continued,
                root=self.tree(self.continued).root(),
                predecessors=tuple(each.members() for each in self.predecessors),
                ca_sha256=digest(ca.certificate),
                signature=ca.key.sign(signed, ec.ECDSA(hashes.SHA256())),
            ),
            bytes(ID_BYTES),
        )

    def data(self) -> bytes:
        """The succession, as followers get it."""
        entry, tree = self.entry(), self.tree(self.continued)
        tree.append(leaf_hash(entry))
        size = tree.size
        note = self.note(size, number=self.number, root=tree.root())
        return succession_file(entry, receipt.build(size - 1, tree.inclusion(size - 1, size), note))


def after(first: Sample, *, known: int, left: int) -> Sample:
    """The next one, where the successor was lost from `left` entries on."""
    before = Predecessor(first.number, known, hashlib.sha256(b"lost again").digest(), left)
    earlier: Sequence[Predecessor] = [
        replace(each, continued=min(each.continued, left)) for each in first.predecessors
    ]
    return replace(first, number=first.number + 1, continued=left, predecessors=(*earlier, before))
