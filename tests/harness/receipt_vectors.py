"""Makes tests/vectors/receipts/receipts.jsonl, cases for whoever verifies receipts with code of his own.

    PYTHONPATH=proto:.:tests python -m harness.receipt_vectors > tests/vectors/receipts/receipts.jsonl

Everything follows from fixed seeds: made again, the file is the same to the byte. Notes and proofs are put
together here from the specifications, without `birthmark.proof`, which is tested with them.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness.paper_tree import PaperTree

ORIGIN = "log.example.com/birthmark/vectors"
TIME = 1_790_000_000  # of cosignatures, POSIX seconds
ENTRIES = [
    b'{"chip_id":"C%d","serial_number":"SN-%06d","type":"issued","v":2}' % (index, index)
    for index in range(11)
]
_LOG, _COSIGNATURE = b"\x01", b"\x04"


@dataclass(frozen=True)
class Signer:
    """A named key, made from its name."""

    name: str
    kind: bytes
    seed: str = ""

    @property
    def private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(sha256((self.seed or self.name).encode()).digest())

    @property
    def _typed(self) -> bytes:
        return self.kind + self.private.public_key().public_bytes_raw()

    @property
    def key_id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + self._typed).digest()[:4]

    @property
    def vkey(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{_base64(self._typed)}"

    def line(self, text: str, *, time: int = TIME, said: int | None = None) -> str:
        """The signature line. `said`: another time than the one that was signed."""
        value = self.private.sign(text.encode())
        if self.kind == _COSIGNATURE:
            signed = f"cosignature/v1\ntime {time}\n{text}".encode()
            value = (time if said is None else said).to_bytes(8) + self.private.sign(signed)
        return f"\u2014 {self.name} {_base64(self.key_id + value)}\n"


LOG, NEXT = Signer(ORIGIN, _LOG, "the log's key"), Signer(ORIGIN, _LOG, "its successor")
STRANGER = Signer(ORIGIN, _LOG, "a stranger's")
WITNESSES = [Signer(f"witness{number}.example.com", _COSIGNATURE) for number in (1, 2, 3)]


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _tree(size: int) -> PaperTree:
    tree = PaperTree()
    for entry in ENTRIES[:size]:
        tree.append(entry)
    return tree


def _text(size: int = 11) -> str:
    return f"{ORIGIN}\n{size}\n{_base64(_tree(size).root(size))}\n"


def _note(text: str = "", *lines: str) -> str:
    text = text or _text()
    return f"{text}\n{''.join(lines) or LOG.line(text)}"


def _receipt(index: int = 6, size: int = 11, note: str = "") -> str:
    hashes = "".join(f"{_base64(item)}\n" for item in _tree(size).inclusion(index, size))
    return f"c2sp.org/tlog-proof@v1\nindex {index}\n{hashes}\n{note or _note(_text(size))}"


def _case(name: str, receipt: str, why: str = "", **changes: Any) -> dict[str, Any]:
    """`why`: the reason for which it is refused; empty: it is accepted."""
    case: dict[str, Any] = {
        "name": name,
        "log_vkeys": [LOG.vkey],
        "witness_vkeys": [],
        "at_least": 0,
        "entry": ENTRIES[6].decode(),
        "receipt": receipt,
        "accept": not why,
        "reason": why or None,
    }
    return case | changes


def cases() -> Iterator[dict[str, Any]]:
    """A line each. A refused case differs in one thing from an accepted one."""
    for size in (1, 2, 3, 7, 8, 11):
        for index in sorted({0, size // 2, size - 1}):
            receipt = _receipt(index, size)
            yield _case(f"entry {index} of {size}", receipt, entry=ENTRIES[index].decode())
    yield from _other_entries()
    yield from _other_forms()
    yield from _signatures()
    yield from _witnessed()


def _other_entries() -> Iterator[dict[str, Any]]:
    good = _receipt()
    first, second = (_base64(item) for item in _tree(11).inclusion(6, 11)[:2])
    yield _case("the entry is another", good, "not proved", entry=ENTRIES[7].decode())
    yield _case("the entry has a byte more", good, "not proved", entry=ENTRIES[6].decode() + "\n")
    yield _case("the index is another", good.replace("index 6", "index 7"), "not proved")
    yield _case("the index is the size", good.replace("index 6", "index 11"), "malformed")
    yield _case("a hash is missing", good.replace(f"{first}\n", ""), "not proved")
    yield _case("a hash is there twice", good.replace(first, f"{first}\n{first}"), "not proved")
    swapped = good.replace(first, "?").replace(second, first).replace("?", second)
    yield _case("two hashes are exchanged", swapped, "not proved")
    yield _case("the size is another", good.replace("\n11\n", "\n12\n"), "wrong signature")
    root = _base64(_tree(11).root(11))
    yield _case("the root is another", good.replace(root, _base64(bytes(32))), "wrong signature")


def _other_forms() -> Iterator[dict[str, Any]]:
    good = _receipt()
    first = _base64(_tree(11).inclusion(6, 11)[0])
    for name, old, new in (
        ("another version", "@v1", "@v2"),
        ("an index with a zero before it", "index 6", "index 06"),
        ("an index with a sign", "index 6", "index +6"),
        ("an index with an underscore", "index 6", "index 1_0"),
        ("an extra line", "index 6", "extra AAAA\nindex 6"),
        ("lines end in CR LF", "index 6\n", "index 6\r\n"),
        ("no empty line before the checkpoint", "\n\nlog", "\nlog"),
        ("base64 without padding", first, first.rstrip("=")),
        ("base64 with loose bits", first, f"{first[:-2]}{chr(ord(first[-2]) + 1)}="),
        ("a hash of 31 bytes", first, _base64(bytes(31))),
    ):
        assert old in good, name
        yield _case(name, good.replace(old, new, 1), "malformed")
    yield _case("the last newline is missing", good[:-1], "malformed")
    yield _case("empty", "", "malformed")
    for name, text in (
        ("a checkpoint with an extension line", _text() + "more\n"),
        ("a checkpoint whose size has a zero before it", _text().replace("\n11\n", "\n011\n")),
        ("a checkpoint of another origin", _text().replace(ORIGIN, "elsewhere.example.com")),
    ):
        yield _case(name, _receipt(note=_note(text)), "malformed")


def _signatures() -> Iterator[dict[str, Any]]:
    text = _text()
    both = [LOG.vkey, NEXT.vkey]
    unknown = Signer("elsewhere.example.com", _LOG).line(text)
    wrong = NEXT.line(text.replace("\n11\n", "\n12\n"))
    for name, why, lines, vkeys in (
        ("signed by another key of this name", "unsigned", [STRANGER.line(text)], [LOG.vkey]),
        ("beside a signature of another key", "", [LOG.line(text), STRANGER.line(text)], [LOG.vkey]),
        ("beside a signature of another name", "", [LOG.line(text), unknown], [LOG.vkey]),
        ("the same signature twice", "", [LOG.line(text)] * 2, [LOG.vkey]),
        ("two keys, both sign", "", [LOG.line(text), NEXT.line(text)], both),
        ("two keys, the second signs", "", [NEXT.line(text)], both),
        ("two keys, one signature is wrong", "wrong signature", [LOG.line(text), wrong], both),
        ("the wrong signature is of an unknown key", "", [LOG.line(text), wrong], [LOG.vkey]),
    ):
        yield _case(name, _receipt(note=_note(text, *lines)), why, log_vkeys=vkeys)


def _witnessed() -> Iterator[dict[str, Any]]:
    text = _text()
    first, second, third = WITNESSES
    twice = Signer("another-name.example.com", _COSIGNATURE, first.name)
    as_log = Signer(first.name, _LOG)
    for name, why, lines, witnesses, at_least in (
        ("two of three witnesses", "", [first.line(text), third.line(text)], WITNESSES, 2),
        ("one of three, and two must", "unsigned", [first.line(text)], WITNESSES, 2),
        ("one witness by two names", "unsigned", [first.line(text), twice.line(text)], [first, twice], 2),
        ("a cosignature of another time", "wrong signature", [first.line(text, said=TIME + 1)], [first], 1),
        ("a cosignature of another tree", "wrong signature", [first.line(_text(10))], [first], 1),
        ("a plain signature by a witness", "unsigned", [as_log.line(text)], [first], 1),
        ("a cosignature that nobody asks for", "", [second.line(_text(10))], [], 0),
    ):
        yield _case(
            name,
            _receipt(note=_note(text, LOG.line(text), *lines)),
            why,
            witness_vkeys=[witness.vkey for witness in witnesses],
            at_least=at_least,
        )


def made() -> str:
    """The file."""
    return "".join(f"{json.dumps(case, sort_keys=True)}\n" for case in cases())


if __name__ == "__main__":
    sys.stdout.write(made())
