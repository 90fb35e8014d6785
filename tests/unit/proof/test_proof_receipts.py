"""Receipts: the published log's, each byte changed, and each thing that is another's."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from birthmark.proof import ProofError, Reason, VerifierKey, parse_receipt, verify_receipt
from birthmark.proof.checkpoint import checkpoint_text
from birthmark.proof.merkle import leaf_hash
from birthmark.proof.note import signature_line
from birthmark.proof.receipt import MAX_RECEIPT_BYTES, Receipt
from harness.paper_tree import PaperTree

SIGNER = Ed25519PrivateKey.from_private_bytes(bytes([7]) * 32)
KEY = VerifierKey("log.example.com/line", SIGNER.public_key().public_bytes_raw())
ENTRIES = [b"entry %d" % index for index in range(7)]
INDEX = 4


def _receipt(index: int = INDEX, size: int = len(ENTRIES)) -> bytes:
    tree = PaperTree()
    for entry in ENTRIES:
        tree.append(entry)
    text = checkpoint_text(KEY.name, size, tree.root(size))
    note = text.encode() + b"\n" + signature_line(KEY, SIGNER.sign(text.encode()))
    return Receipt(index, tuple(tree.inclusion(index, size)), note).data()


DATA = _receipt()
LEAF = base64.b64encode(leaf_hash(ENTRIES[5]))  # the first hash of the proof


@pytest.mark.parametrize("size", range(1, 8))
def test_a_receipt_of_each_entry_of_each_size_holds(size: int) -> None:
    for index in range(size):
        verified = verify_receipt(_receipt(index, size), ENTRIES[index], [KEY])
        assert (verified.index, verified.checkpoint.size) == (index, size)


def test_what_is_written_is_read() -> None:
    receipt = parse_receipt(DATA)
    assert receipt.index == INDEX
    assert receipt.proof[0] == leaf_hash(ENTRIES[5])
    assert receipt.data() == DATA


def test_a_receipt_of_another_entry_proves_nothing() -> None:
    for entry in (ENTRIES[5], ENTRIES[INDEX] + b" ", b""):
        with pytest.raises(ProofError) as raised:
            verify_receipt(DATA, entry, [KEY])
        assert raised.value.reason is Reason.NOT_PROVED


def test_a_receipt_of_another_index_proves_nothing() -> None:
    with pytest.raises(ProofError) as raised:
        verify_receipt(DATA.replace(b"index 4", b"index 5"), ENTRIES[INDEX], [KEY])
    assert raised.value.reason is Reason.NOT_PROVED


def test_a_receipt_of_another_log_is_unsigned() -> None:
    other = VerifierKey(KEY.name, bytes(32))
    with pytest.raises(ProofError) as raised:
        verify_receipt(DATA, ENTRIES[INDEX], [other])
    assert raised.value.reason is Reason.UNSIGNED


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"index 4", b"index 04"),
        (b"index 4", b"index +4"),
        (b"index 4", b"index  4"),
        (b"index 4", b"index 7"),
        (b"index 4\n", b"extra AAAA\nindex 4\n"),
        (b"index 4\n", b""),
        (b"@v1", b"@v2"),
        (b"\n\n", b"\n"),
        (LEAF, LEAF[:-2]),
        (LEAF, b"AAAA"),
        (LEAF, b"\xff"),
        (b"index 4\n", b"index 4\r\n"),
        (LEAF, b"\n".join([LEAF] * 62)),
        (DATA[-10:], DATA[-10:] + b"A" * MAX_RECEIPT_BYTES),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_receipts_of_another_form_are_refused(old: bytes, new: bytes) -> None:
    assert old in DATA
    with pytest.raises(ProofError) as raised:
        verify_receipt(DATA.replace(old, new, 1), ENTRIES[INDEX], [KEY])
    assert raised.value.reason is Reason.MALFORMED


@pytest.mark.parametrize("change", ["longer", "shorter"])
def test_a_proof_of_another_length_proves_nothing(change: str) -> None:
    receipt = parse_receipt(DATA)
    proof = (*receipt.proof, bytes(32)) if change == "longer" else receipt.proof[:-1]
    with pytest.raises(ProofError) as raised:
        verify_receipt(Receipt(INDEX, proof, receipt.note).data(), ENTRIES[INDEX], [KEY])
    assert raised.value.reason is Reason.NOT_PROVED


def test_each_bit_changed_is_refused() -> None:
    for position in range(len(DATA)):
        for bit in range(8):
            changed = bytearray(DATA)
            changed[position] ^= 1 << bit
            with pytest.raises(ProofError):
                verify_receipt(bytes(changed), ENTRIES[INDEX], [KEY])


@given(st.integers(0, len(DATA) - 1))
def test_a_receipt_that_was_cut_is_refused(end: int) -> None:
    with pytest.raises(ProofError):
        verify_receipt(DATA[:end], ENTRIES[INDEX], [KEY])


@given(st.binary(max_size=400) | st.text(max_size=200).map(lambda text: DATA[:30] + text.encode()))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ProofError):
        verify_receipt(data, ENTRIES[INDEX], [KEY])
