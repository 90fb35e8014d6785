"""Checkpoints and receipts: a log known to the byte, public vectors, and each thing that is off."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from agent.core.note import MAX_KEYS, NoteError, open_checkpoint, parse_vkey, parse_vkeys
from agent.core.receipt import ReceiptError, require, root_from_path, verify_receipt

VECTORS = Path(__file__).parents[3] / "vectors"
# The three-entry log of tests/vectors/tlog/three-entries.md.
VKEY = "log.example.com/signerd/line1+971c2ca2+AfmZ/H/mB9/RaFr8ggXAQ9dTX2EE4TjfizEUfOCJ5rX2"
CHECKPOINT = (
    "log.example.com/signerd/line1\n3\nu3vsxjiLMeYvz5HJctO0ej8USGlVuR8maV8ZKI6pCLk=\n\n"
    "\u2014 log.example.com/signerd/line1 lxwsonFCu3kQrNzEJp9bc8cqRHaETGE7WsQAUjV1mlm4DUsbgFQWib3RWysoEod8"
    "oWkIQQH88Fh79sUkGwBUjYAyJQo=\n"
)
ENTRY = b"signerd/v1 cert 1"
LEAF0 = bytes.fromhex("98bcbb4a3dc5977cf3c38c65d8144b5d18f07982e64e0e51ba3a52bfadb7bb8f")
LEAF2 = bytes.fromhex("9ccd9b3d5c908328de62e8bfd9f3911acf0d825c7985f83be716a16e01072571")
PATH = [base64.b64encode(leaf).decode() for leaf in (LEAF0, LEAF2)]
PROOF = f"c2sp.org/tlog-proof@v1\nindex 1\n{PATH[0]}\n{PATH[1]}\n\n{CHECKPOINT}"


def test_checkpoint() -> None:
    checkpoint = open_checkpoint(CHECKPOINT, parse_vkey(VKEY + "\n"))
    assert (checkpoint.size, checkpoint.root.hex()[:8]) == (3, "bb7becc6")


def test_cosignatures_of_others_are_passed_over() -> None:
    other = base64.b64encode(bytes(76)).decode()
    open_checkpoint(CHECKPOINT + f"\u2014 witness.example {other}\n", parse_vkey(VKEY))


def _second_key() -> tuple[Ed25519PrivateKey, str]:
    key, name = Ed25519PrivateKey.generate(), VKEY.partition("+")[0]
    public = b"\x01" + key.public_key().public_bytes_raw()
    key_id = hashlib.sha256(name.encode() + b"\n" + public).digest()[:4]
    return key, f"{name}+{key_id.hex()}+{base64.b64encode(public).decode()}"


def _signed(key: Ed25519PrivateKey, vkey: str) -> str:
    """The signature line of this key."""
    text = CHECKPOINT.partition("\n\n")[0] + "\n"
    value = base64.b64encode(bytes.fromhex(vkey.split("+")[1]) + key.sign(text.encode())).decode()
    return f"\u2014 {vkey.partition('+')[0]} {value}\n"


def test_of_two_keys_either_signs() -> None:
    key, vkey = _second_key()
    both = CHECKPOINT + _signed(key, vkey)
    second_alone = CHECKPOINT.partition("\u2014")[0] + _signed(key, vkey)
    for pins in (VKEY, vkey, f"# the log's\n{VKEY}\n\n{vkey}\n", f"{vkey}\r\n{VKEY}\r\n"):
        assert open_checkpoint(both, parse_vkeys(pins)).size == 3
    for pins in (vkey, f"{VKEY}\n{vkey}"):
        assert open_checkpoint(second_alone, parse_vkeys(pins)).size == 3
    with pytest.raises(NoteError, match="not signed"):
        open_checkpoint(second_alone, parse_vkeys(VKEY))


def test_a_wrong_signature_of_one_of_two_is_fatal() -> None:
    _, vkey = _second_key()
    wrong = _signed(Ed25519PrivateKey.generate(), vkey)
    assert open_checkpoint(CHECKPOINT + wrong, parse_vkeys(VKEY)).size == 3  # not our key's line
    with pytest.raises(NoteError, match="does not hold"):
        open_checkpoint(CHECKPOINT + wrong, parse_vkeys(f"{VKEY}\n{vkey}"))


@pytest.mark.parametrize("text", ["", "# none\n", VKEY + "\nlog+00000000+AQ==\n", VKEY + " " + VKEY])
def test_pins_that_are_none(text: str) -> None:
    with pytest.raises(NoteError):
        parse_vkeys(text)


def test_pins_of_another_log_and_too_many() -> None:
    elsewhere = "other" + _second_key()[1]
    keys = "\n".join(_second_key()[1] for _ in range(MAX_KEYS + 1))
    for text in (f"{VKEY}\n{elsewhere}", keys):
        with pytest.raises(NoteError):
            parse_vkeys(text)
    assert parse_vkeys(f"{VKEY}\n{VKEY}").beside == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("line1\n3", "line1\n4"),
        ("line1\n3", "line1\n+3"),
        ("line1\n3", "line1\n03"),
        ("u3vs", "v3vs"),
        ("lxws", "lxwt"),
        ("\u2014 log", "- log"),
        ("\u2014 log.example.com/signerd/line1", "\u2014 log.example.com/signerd/line2"),
        ("JQo=\n", "JQo="),
        ("JQo=", "JQp="),
        ("pCLk=\n", "pCLk=\nextra\n"),
        ("\n\n", "\n"),
        ("\n3\n", "\r\n3\n"),
    ],
)
def test_changed_checkpoints(old: str, new: str) -> None:
    assert old in CHECKPOINT
    with pytest.raises(NoteError):
        open_checkpoint(CHECKPOINT.replace(old, new, 1), parse_vkey(VKEY))


@pytest.mark.parametrize(
    ("old", "new"), [("971c", "971d"), ("line1+", "line2+"), ("+Afm", "+Bfm"), ("5rX2", "5rX"), ("+", " ")]
)
def test_changed_verifier_keys(old: str, new: str) -> None:
    with pytest.raises(NoteError):
        parse_vkey(VKEY.replace(old, new, 1))


def test_receipt() -> None:
    assert verify_receipt(PROOF.encode(), ENTRY, 1, parse_vkey(VKEY)).size == 3


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@v1", "@v2"),
        ("index 1", "index 2"),
        ("index 1", "index 01"),
        ("index 1", "extra AA==\nindex 1"),
        ("mLy7", "mLy8"),
        ("=\n\nlog", "=\n" + base64.b64encode(LEAF0).decode() + "\n\nlog"),
    ],
)
def test_changed_receipts(old: str, new: str) -> None:
    assert old in PROOF
    with pytest.raises(ReceiptError):
        verify_receipt(PROOF.replace(old, new, 1).encode(), ENTRY, 1, parse_vkey(VKEY))


def test_receipt_of_another_entry() -> None:
    with pytest.raises(ReceiptError, match="not in the tree"):
        verify_receipt(PROOF.encode(), ENTRY + b" ", 1, parse_vkey(VKEY))


@given(st.binary(max_size=300))
def test_any_bytes_raise_only_our_error(data: bytes) -> None:
    with pytest.raises(ReceiptError):
        verify_receipt(data, ENTRY, 1, parse_vkey(VKEY))


def inclusion_vectors() -> list[dict[str, object]]:
    text = (VECTORS / "merkle" / "inclusion.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("vector", inclusion_vectors(), ids=lambda vector: str(vector["name"]))
def test_public_inclusion_vectors(vector: dict[str, object]) -> None:
    def decode(text: object) -> bytes:
        return base64.b64decode(str(text))

    path = [decode(node) for node in vector["proof"] or []]  # type: ignore[attr-defined]
    index, size = vector["leafIdx"], vector["treeSize"]
    assert isinstance(index, int)
    assert isinstance(size, int)
    if len(decode(vector["root"])) != 32:  # a checkpoint with such a root is not read at all
        assert vector["wantErr"]
        return
    try:
        holds = root_from_path(decode(vector["leafHash"]), index, size, path) == decode(vector["root"])
    except ReceiptError:
        holds = False
    assert holds is not vector["wantErr"]


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
