"""Receipts and pinned keys of a station: whose receipt it is, which entry it proves, and what that says."""

from __future__ import annotations

import base64
from dataclasses import replace
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from agent.core.log_keys import MAX_KEYS, LogKey, LogKeyError, parse_log_keys, parse_witnesses
from agent.core.receipt import ReceiptError, UncosignedError, require, verify_receipt
from birthmark.proof import SignatureType, VerifierKey
from birthmark.proof.cosignature import cosignature_line
from birthmark.proof.note import cosigned_message, signature_line
from birthmark.proof.tile import MAX_ENTRY_BYTES

# The three-entry log of tests/vectors/tlog/three-entries.md.
SIGNER = Ed25519PrivateKey.from_private_bytes(sha256(b"signerd demo log key").digest())
VKEY = "log.example.com/signerd/line1+971c2ca2+AfmZ/H/mB9/RaFr8ggXAQ9dTX2EE4TjfizEUfOCJ5rX2"
NAME = VKEY.partition("+")[0]
TEXT = f"{NAME}\n3\nu3vsxjiLMeYvz5HJctO0ej8USGlVuR8maV8ZKI6pCLk=\n"
ENTRY = b"signerd/v1 cert 1"
LEAF0 = bytes.fromhex("98bcbb4a3dc5977cf3c38c65d8144b5d18f07982e64e0e51ba3a52bfadb7bb8f")
LEAF2 = bytes.fromhex("9ccd9b3d5c908328de62e8bfd9f3911acf0d825c7985f83be716a16e01072571")
PATH = [base64.b64encode(leaf).decode() for leaf in (LEAF0, LEAF2)]


def _key(signer: Ed25519PrivateKey, name: str = NAME) -> VerifierKey:
    return VerifierKey(name, signer.public_key().public_bytes_raw())


def _receipt(*signers: Ed25519PrivateKey) -> bytes:
    lines = b"".join(signature_line(_key(one), one.sign(TEXT.encode())) for one in signers or (SIGNER,))
    return f"c2sp.org/tlog-proof@v1\nindex 1\n{PATH[0]}\n{PATH[1]}\n\n{TEXT}\n".encode() + lines


def test_a_receipt() -> None:
    assert verify_receipt(_receipt(), ENTRY, 1, parse_log_keys(VKEY + "\n")).size == 3


def test_of_two_keys_either_signs() -> None:
    second = Ed25519PrivateKey.generate()
    vkey = _key(second).text()
    for pins in (VKEY, vkey, f"# the log's\n{VKEY}\n\n{vkey}\n", f"{vkey}\r\n{VKEY}\r\n"):
        assert verify_receipt(_receipt(SIGNER, second), ENTRY, 1, parse_log_keys(pins)).size == 3
    for pins in (vkey, f"{VKEY}\n{vkey}"):
        assert verify_receipt(_receipt(second), ENTRY, 1, parse_log_keys(pins)).size == 3
    with pytest.raises(ReceiptError, match="not signed by a key that log_vkey pins"):
        verify_receipt(_receipt(second), ENTRY, 1, parse_log_keys(VKEY))


def test_a_wrong_signature_of_one_of_two_is_fatal() -> None:
    second = _key(Ed25519PrivateKey.generate())
    wrong = _receipt() + signature_line(second, bytes(64))
    assert verify_receipt(wrong, ENTRY, 1, parse_log_keys(VKEY)).size == 3  # not our key's line
    with pytest.raises(ReceiptError, match="does not hold"):
        verify_receipt(wrong, ENTRY, 1, parse_log_keys(f"{VKEY}\n{second.text()}"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# none\n",
        VKEY + "\nlog+00000000+AQ==\n",
        VKEY + " " + VKEY,
        VKEY.replace("971c", "971d"),
        VerifierKey(NAME, bytes(32), SignatureType.COSIGNATURE).text(),
    ],
)
def test_pins_that_are_none(text: str) -> None:
    with pytest.raises(LogKeyError):
        parse_log_keys(text)


def test_pins_of_another_log_and_too_many() -> None:
    elsewhere = _key(Ed25519PrivateKey.generate(), "other.example").text()
    keys = "\n".join(_key(Ed25519PrivateKey.generate()).text() for _ in range(MAX_KEYS + 1))
    for text in (f"{VKEY}\n{elsewhere}", keys):
        with pytest.raises(LogKeyError):
            parse_log_keys(text)
    assert len(parse_log_keys(keys.rpartition("\n")[0]).beside) == MAX_KEYS - 1
    assert parse_log_keys(f"{VKEY}\n{VKEY}").beside == ()


@pytest.mark.parametrize(
    ("entry", "index", "complaint"),
    [
        (ENTRY + b" ", 1, "does not lead"),
        (ENTRY, 2, "another index"),
        (b"", 1, "empty or too large"),
        (bytes(MAX_ENTRY_BYTES + 1), 1, "empty or too large"),
    ],
)
def test_a_receipt_of_something_else(entry: bytes, index: int, complaint: str) -> None:
    with pytest.raises(ReceiptError, match=complaint):
        verify_receipt(_receipt(), entry, index, parse_log_keys(VKEY))


@given(st.binary(max_size=300))
def test_any_bytes_raise_only_our_error(data: bytes) -> None:
    with pytest.raises(ReceiptError):
        verify_receipt(data, ENTRY, 1, parse_log_keys(VKEY))


def test_require() -> None:
    for form in (1, 2, 3, 99):  # a newer signerd needs no newer agent
        require(b'{"v":%d,"type":"issued","more":true}' % form, {"type": "issued"})


@pytest.mark.parametrize(
    "entry",
    [
        b'{"v":2,"type":"stamped"}',
        b'{"v":0,"type":"issued"}',
        b'{"v":"2","type":"issued"}',
        b'{"type":"issued"}',
        b'{"v":true,"type":"issued"}',
        b'{"v":1}',
        b'{"v":1,"type":"issued","type":"issued"}',
        b'["v"]',
        b"{",
        b"\xff",
        b"[" * 50_000,
    ],
)
def test_entries_that_speak_of_something_else(entry: bytes) -> None:
    with pytest.raises(ReceiptError):
        require(entry, {"type": "issued"})


WITNESS, OTHER = (Ed25519PrivateKey.from_private_bytes(sha256(name).digest()) for name in (b"w1", b"w2"))


def _witness(signer: Ed25519PrivateKey, name: str) -> VerifierKey:
    return VerifierKey(name, signer.public_key().public_bytes_raw(), SignatureType.COSIGNATURE)


KEYS = _witness(WITNESS, "w1.example"), _witness(OTHER, "w2.example")
PINS = "".join(f"{key.text()}\n" for key in KEYS)


def _cosigned(*signers: tuple[Ed25519PrivateKey, VerifierKey], time: int = 1_800_000_000) -> bytes:
    lines = [
        cosignature_line(key, time, signer.sign(cosigned_message(TEXT, time))) for signer, key in signers
    ]
    return _receipt() + b"".join(lines)


def _asking(at_least: int) -> LogKey:
    return replace(parse_log_keys(VKEY), cosigners=parse_witnesses(PINS, at_least))


def test_cosignatures_that_are_demanded() -> None:
    both = _cosigned((WITNESS, KEYS[0]), (OTHER, KEYS[1]))
    one = _cosigned((OTHER, KEYS[1]))
    assert verify_receipt(both, ENTRY, 1, _asking(2)).size == 3
    assert verify_receipt(one, ENTRY, 1, _asking(1)).size == 3
    for receipt, at_least in ((one, 2), (_receipt(), 1), (one + one.rpartition(TEXT.encode())[2][1:], 2)):
        with pytest.raises(UncosignedError, match="witnesses signed"):
            verify_receipt(receipt, ENTRY, 1, _asking(at_least))
    stranger = Ed25519PrivateKey.generate()
    with pytest.raises(UncosignedError):  # by a name like that of a witness
        verify_receipt(_cosigned((stranger, _witness(stranger, "w1.example"))), ENTRY, 1, _asking(1))


def test_a_cosignature_that_does_not_hold_is_no_missing_one() -> None:
    wrong = _cosigned((WITNESS, KEYS[0])) + cosignature_line(KEYS[1], 7, bytes(64))
    with pytest.raises(ReceiptError, match="does not hold") as refused:
        verify_receipt(wrong, ENTRY, 1, _asking(1))
    assert not isinstance(refused.value, UncosignedError)
    assert verify_receipt(wrong, ENTRY, 1, parse_log_keys(VKEY)).size == 3  # nobody is asked


@pytest.mark.parametrize(
    ("text", "at_least"),
    [
        ("", 0),
        ("# none\n", 1),
        (PINS, 3),
        (VKEY, 1),
        (PINS + KEYS[0].text(), 1),
        (PINS + _witness(WITNESS, "by-another-name.example").text(), 1),
        (PINS + "w+00000000+BA==\n", 1),
        ("".join(_witness(Ed25519PrivateKey.generate(), f"w{n}").text() + "\n" for n in range(17)), 1),
    ],
)
def test_witnesses_that_are_none(text: str, at_least: int) -> None:
    with pytest.raises(LogKeyError):
        parse_witnesses(text, at_least)
