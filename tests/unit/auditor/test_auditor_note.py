"""Signed notes, checkpoints and receipts: strict forms, and the published three-entry log."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from auditor.core.checkpoint import open_checkpoint, parse_decimal
from auditor.core.merkle import Frontier, is_consistent, is_included, leaf_hash
from auditor.core.note import open_note, parse_vkey
from auditor.core.receipt import verify_receipt
from auditor.errors import CheckFailed, Malformed
from harness.paper_log import ORIGIN, note, vkey

VECTOR = Path(__file__).parents[2] / "vectors" / "tlog" / "three-entries.md"
ENTRIES = [b"signerd/v1 cert 0", b"signerd/v1 cert 1", b"signerd/v1 stamp 2"]


def _vector() -> tuple[str, bytes]:
    text = VECTOR.read_text(encoding="utf-8")
    key = re.search(r"^vkey +(\S+)$", text, re.MULTILINE)
    checkpoint = re.search(r"```\n(log\.example\.com[^`]+— [^`]+\n)```", text)
    assert key is not None
    assert checkpoint is not None
    return key[1], checkpoint[1].encode()


def test_the_published_log_holds() -> None:
    text, data = _vector()
    checkpoint = open_checkpoint(data, parse_vkey(text))
    leaves = [leaf_hash(entry) for entry in ENTRIES]
    frontier = Frontier.empty()
    for leaf in leaves:
        frontier.append(leaf)
    assert (checkpoint.size, checkpoint.root) == (3, frontier.root())
    proof = [leaves[0], leaves[2]]
    assert is_included(index=1, size=3, root=checkpoint.root, leaf=leaves[1], proof=proof)
    two = Frontier.empty()
    two.append(leaves[0])
    two.append(leaves[1])
    assert is_consistent(
        old_size=2, old_root=two.root(), new_size=3, new_root=checkpoint.root, proof=[leaves[2]]
    )


def test_the_published_log_gives_a_receipt() -> None:
    text, data = _vector()
    leaves = [base64.b64encode(leaf_hash(entry)) for entry in ENTRIES]
    receipt = b"c2sp.org/tlog-proof@v1\nindex 1\n" + leaves[0] + b"\n" + leaves[2] + b"\n\n" + data
    assert verify_receipt(receipt, ENTRIES[1], parse_vkey(text)).index == 1
    with pytest.raises(CheckFailed, match="F109"):
        verify_receipt(receipt, ENTRIES[0], parse_vkey(text))
    for change in (
        (b"index 1", b"index 01"),
        (b"index 1", b"index +1"),
        (b"index 1\n", b"extra AAAA\nindex 1\n"),
        (b"@v1", b"@v2"),
        (b"\n\n", b"\n"),
        (leaves[0], leaves[0][:-2]),
        (leaves[0], b"AAAA"),
        (b"index 1\n", b"index 1\n" + (leaves[0] + b"\n") * 200),
    ):
        with pytest.raises((Malformed, CheckFailed)):
            verify_receipt(receipt.replace(*change, 1), ENTRIES[1], parse_vkey(text))


KEY = Ed25519PrivateKey.generate()
OTHER = Ed25519PrivateKey.generate()
VKEY = parse_vkey(vkey(KEY))
BODY = f"{ORIGIN}\n3\n{base64.b64encode(bytes(32)).decode()}\n"


def _line(data: bytes) -> bytes:
    return data.rpartition(b"\n\n")[2]


def test_cosignatures_and_strangers_are_ignored() -> None:
    data = note(KEY, BODY) + _line(note(OTHER, BODY, name="witness.example")) + _line(note(OTHER, BODY))
    assert open_checkpoint(data, VKEY).size == 3


def test_the_same_signature_twice_is_one() -> None:
    data = note(KEY, BODY)
    assert open_checkpoint(data + _line(data), VKEY).size == 3


def test_two_different_signatures_of_our_key_are_refused() -> None:
    data = note(KEY, BODY) + _line(note(KEY, BODY + "more\n"))
    with pytest.raises(CheckFailed, match="two different"):
        open_note(data, VKEY)


def test_a_signature_of_other_text_is_refused() -> None:
    data = note(KEY, BODY).replace(b"\n3\n", b"\n4\n")
    with pytest.raises(CheckFailed, match="wrong"):
        open_note(data, VKEY)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-1],
        lambda data: data + b"\n",
        lambda data: data.replace(b"\n\n", b"\n"),
        lambda data: data.replace("— ".encode(), b"- "),
        lambda data: data.replace(b"\n3\n", b"\n3\r\n"),
        lambda data: b"\xff" + data,
        lambda data: data.replace(b"=\n\n", b"\n\n"),
        lambda data: data + data.rpartition(b"\n\n")[2] * 65,
        lambda data: data + "— name AAAA\n".encode(),
        lambda data: data + "— na+me AAAAAAAA\n".encode(),
    ],
)
def test_notes_of_another_form_are_refused(change: object) -> None:
    assert callable(change)
    with pytest.raises((Malformed, CheckFailed)):
        open_checkpoint(change(note(KEY, BODY)), VKEY)


@pytest.mark.parametrize(
    "body",
    [
        BODY.replace("\n3\n", "\n\n"),
        BODY.replace("\n3\n", f"\n{2**63}\n"),
        BODY.replace("\n3\n", "\n３\n"),
        BODY.replace("=\n", "\n"),
        BODY.replace("AAA=", "AAB="),
        BODY.replace("AAAA", "", 1),
        BODY.replace(ORIGIN, ORIGIN + "/x"),
        BODY + "extension\n",
    ],
)
def test_signed_checkpoints_of_another_form_are_refused(body: str) -> None:
    with pytest.raises(Malformed):
        open_checkpoint(note(KEY, body), VKEY)


@pytest.mark.parametrize("text", ["", "+1", "-1", "01", "1_0", " 1", "1 ", "１", "1e3", str(2**63), "9" * 30])
def test_numbers_in_another_spelling_are_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_decimal(text)


@pytest.mark.parametrize(
    "change", [("+", "-"), (ORIGIN, "other"), ("+A", "+B"), ("=", ""), ("paper", "pa per")], ids=str
)
def test_verifier_keys_of_another_form_are_refused(change: tuple[str, str]) -> None:
    text = ORIGIN + "+00000000+AAAA" if change == ("=", "") else vkey(KEY).replace(*change, 1)
    with pytest.raises(Malformed):
        parse_vkey(text)


@given(st.binary(max_size=400))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises((Malformed, CheckFailed)):
        open_checkpoint(data, VKEY)
    with pytest.raises((Malformed, CheckFailed)):
        verify_receipt(data, b"", VKEY)
    with pytest.raises(Malformed):
        parse_vkey(data.decode("latin-1"))


@given(st.integers(0, 400), st.integers(0, 255))
def test_any_changed_byte_is_refused(position: int, byte: int) -> None:
    data = bytearray(note(KEY, BODY))
    position %= len(data)
    if data[position] == byte:
        return
    data[position] = byte
    with pytest.raises((Malformed, CheckFailed)):
        open_checkpoint(bytes(data), VKEY)
