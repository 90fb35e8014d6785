"""Witnesses that an auditor demands: whom a checkpoint has to be cosigned by."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from auditor.core.codes import Code
from auditor.core.cosigners import MAX_WITNESSES, Cosigners
from auditor.errors import CheckFailed, Malformed
from birthmark.proof import Checkpoint, SignatureType, VerifierKey
from birthmark.proof.checkpoint import checkpoint_text
from birthmark.proof.note import signature_line
from harness.paper_witness import PaperWitness

ORIGIN = "example.com/log"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
LOG = VerifierKey(ORIGIN, KEY.public_key().public_bytes_raw())
W1, W2 = PaperWitness("w1.example"), PaperWitness("w2.example")
TEXT = checkpoint_text(ORIGIN, 7, hashlib.sha256(b"root").digest()).encode()


def head(*lines: bytes) -> Checkpoint:
    note = TEXT + b"\n" + signature_line(LOG, KEY.sign(TEXT)) + b"".join(lines)
    return Checkpoint(ORIGIN, 7, hashlib.sha256(b"root").digest(), note)


def test_enough_of_them_have_cosigned() -> None:
    one, both = W1.cosignature(TEXT), W1.cosignature(TEXT) + W2.cosignature(TEXT)
    for asked, lines in ((1, one), (1, both), (2, both)):
        Cosigners.of([W1.vkey, W2.vkey], asked).demand(head(lines))
    Cosigners().demand(head())
    for lines in (b"", one, one + one):
        with pytest.raises(CheckFailed) as raised:
            Cosigners.of([W1.vkey, W2.vkey], 2).demand(head(lines))
        assert raised.value.code is Code.NOT_COSIGNED
        assert raised.value.expected == "2 of w1.example, w2.example"
        assert raised.value.found == ("w1.example" if lines else "")


def test_a_cosignature_of_another_tree_or_key_is_none() -> None:
    elsewhere = W1.cosignature(checkpoint_text(ORIGIN, 8, bytes(32)).encode())
    strangers = PaperWitness("w1.example")
    strangers.key = W2.key
    for lines in (elsewhere, strangers.cosignature(TEXT), W2.cosignature(TEXT)):
        with pytest.raises(CheckFailed):
            Cosigners.of([W1.vkey], 1).demand(head(lines))


@pytest.mark.parametrize(
    ("texts", "at_least"),
    [
        ([], 1),
        ([W1.vkey], 0),
        ([W1.vkey], 2),
        ([W1.vkey, W1.vkey], 1),
        ([LOG.text()], 1),
        (["nothing"], 1),
        ([VerifierKey(f"w{n}", bytes([n]) * 32, SignatureType.COSIGNATURE).text() for n in range(17)], 1),
    ],
)
def test_what_are_no_witnesses(texts: list[str], at_least: int) -> None:
    assert MAX_WITNESSES == 16
    with pytest.raises(Malformed):
        Cosigners.of(texts, at_least)
