"""What birthmark.proof refuses, in the auditor's words: a wrong form, or the code of a finding."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from auditor.core.codes import Code
from auditor.core.proofs import (
    claimed_checkpoint,
    has_signature,
    is_consistent,
    is_included,
    open_checkpoint,
    parse_vkey,
    verify_receipt,
)
from auditor.errors import CheckFailed, Malformed
from birthmark.proof import SignatureType, VerifierKey, leaf_hash
from birthmark.proof.receipt import Receipt
from harness.paper_log import ORIGIN, note, vkey
from harness.paper_tree import PaperTree

SIGNER, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
KEY = parse_vkey(vkey(SIGNER))
ENTRIES = [b"one", b"two", b"three"]
TREE = PaperTree()
for _entry in ENTRIES:
    TREE.append(_entry)
BODY = f"{ORIGIN}\n3\n{base64.b64encode(TREE.root(3)).decode()}\n"
INCLUSION = TREE.inclusion(1, 3)
RECEIPT = Receipt(1, tuple(INCLUSION), note(SIGNER, BODY)).data()


def _included(*, leaf: bytes = leaf_hash(ENTRIES[1]), proof: list[bytes] = INCLUSION) -> bool:
    return is_included(index=1, size=3, root=TREE.root(3), leaf=leaf, proof=proof)


def _consistent(*, old_size: int = 2, proof: list[bytes]) -> bool:
    sizes = {"old_size": old_size, "new_size": 3}
    return is_consistent(**sizes, old_root=TREE.root(2), new_root=TREE.root(3), proof=proof)


def test_a_checkpoint_of_the_pinned_key() -> None:
    checkpoint = open_checkpoint(note(SIGNER, BODY), KEY)
    assert (checkpoint.size, checkpoint.root) == (3, TREE.root(3))
    assert claimed_checkpoint(note(OTHER, BODY), ORIGIN).root == checkpoint.root


def test_a_checkpoint_without_our_signature_names_both() -> None:
    data = note(OTHER, BODY)
    assert not has_signature(data, KEY)
    with pytest.raises(CheckFailed) as raised:
        open_checkpoint(data, KEY)
    assert raised.value.code is Code.CHECKPOINT_SIGNATURE
    assert raised.value.expected == f"{ORIGIN} {KEY.key_id.hex()}"
    assert raised.value.found == f"{ORIGIN} {parse_vkey(vkey(OTHER)).key_id.hex()}"


def test_a_checkpoint_with_a_wrong_signature_is_a_finding() -> None:
    with pytest.raises(CheckFailed) as raised:
        open_checkpoint(note(SIGNER, BODY).replace(b"\n3\n", b"\n4\n"), KEY)
    assert raised.value.code is Code.CHECKPOINT_SIGNATURE


@pytest.mark.parametrize("data", [note(SIGNER, BODY + "more\n"), note(SIGNER, BODY)[:-1], b""])
def test_what_is_no_checkpoint_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        open_checkpoint(data, KEY)


def test_a_log_has_no_key_of_a_witness_and_no_key_in_two_spellings() -> None:
    """A key that stood in the log in two spellings would count as two."""
    witness = VerifierKey(ORIGIN, KEY.public_key, SignatureType.COSIGNATURE)
    assert parse_vkey(KEY.text()) == KEY
    for text in (witness.text(), KEY.text() + "\n", KEY.text()[:-1]):
        with pytest.raises(Malformed):
            parse_vkey(text)


def test_proofs_hold_or_do_not_or_are_none() -> None:
    assert _included()
    assert not _included(leaf=leaf_hash(ENTRIES[2]))
    with pytest.raises(Malformed):
        _included(proof=[*INCLUSION, b"short"])
    consistency = TREE.consistency(2, 3)
    assert _consistent(proof=consistency)
    assert not _consistent(proof=[bytes(32)])
    for old_size in (0, 4):
        with pytest.raises(Malformed):
            _consistent(old_size=old_size, proof=consistency)


def test_a_receipt_proves_its_entry_alone() -> None:
    assert verify_receipt(RECEIPT, ENTRIES[1], KEY).index == 1
    with pytest.raises(CheckFailed) as raised:
        verify_receipt(RECEIPT, ENTRIES[0], KEY)
    assert raised.value.code is Code.NOT_INCLUDED
    with pytest.raises(CheckFailed) as raised:
        verify_receipt(RECEIPT, ENTRIES[1], parse_vkey(vkey(OTHER)))
    assert raised.value.code is Code.CHECKPOINT_SIGNATURE
    with pytest.raises(Malformed):
        verify_receipt(RECEIPT.replace(b"@v1", b"@v2"), ENTRIES[1], KEY)


@given(st.binary(max_size=400))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        open_checkpoint(data, KEY)
    with pytest.raises(Malformed):
        verify_receipt(data, b"", KEY)
    with pytest.raises(Malformed):
        parse_vkey(data.decode("latin-1"))
