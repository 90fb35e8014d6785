"""Checkpoints and notes against a log worked out to the byte, and strictness of the parsers."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from signerd.core.merkle import Tree, leaf_hash
from signerd.core.note import (
    Checkpoint,
    NoteError,
    VerifierKey,
    open_checkpoint,
    parse_checkpoint,
    parse_vkey,
    sign_note,
)

WORKED = (Path(__file__).parents[3] / "vectors" / "tlog" / "three-entries.md").read_text()
ENTRIES = [b"signerd/v1 cert 0", b"signerd/v1 cert 1", b"signerd/v1 stamp 2"]
SIGNER = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"signerd demo log key").digest())
ORIGIN = "log.example.com/signerd/line1"
KEY = VerifierKey(ORIGIN, SIGNER.public_key().public_bytes_raw())


def worked(name: str) -> str:
    found = re.search(rf"^{re.escape(name)} +(\S+)$", WORKED, re.MULTILINE)
    assert found is not None
    return found.group(1)


def worked_note() -> bytes:
    (note,) = re.findall(r"```\n(log\.example\.com/signerd/line1\n3\n.*?\n)```", WORKED, re.DOTALL)
    return str(note).encode()


def worked_tree() -> Tree:
    tree = Tree()
    for entry in ENTRIES:
        tree.append(leaf_hash(entry))
    return tree


def signed(body: bytes, key: VerifierKey = KEY) -> bytes:
    return sign_note(body, (key, SIGNER.sign(body)))


def test_the_worked_log() -> None:
    tree = worked_tree()
    assert [leaf_hash(entry).hex() for entry in ENTRIES] == [worked(f"leaf{index}") for index in range(3)]
    assert tree.root(2).hex() == worked("node(0,1)")
    assert tree.root().hex() == worked("root")
    assert KEY.text() == worked("vkey")
    assert signed(Checkpoint(ORIGIN, 3, tree.root()).body()) == worked_note()
    assert [node.hex() for node in tree.inclusion(1, 3)] == [worked("leaf0"), worked("leaf2")]
    assert [node.hex() for node in tree.consistency(2, 3)] == [worked("leaf2")]


def test_what_is_written_is_read() -> None:
    assert parse_vkey(KEY.text()) == parse_vkey(KEY.text() + "\n") == KEY
    assert open_checkpoint(worked_note(), KEY) == Checkpoint(ORIGIN, 3, worked_tree().root())


def test_other_signers_lines_are_passed_over() -> None:
    other = b"\xe2\x80\x94 witness.example " + base64.b64encode(bytes(76)) + b"\n"
    assert open_checkpoint(worked_note() + other, KEY).size == 3


ROOT = base64.b64encode(bytes(32)).decode()
GOOD = f"{ORIGIN}\n3\n{ROOT}\n"


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("\n3\n", "\n+3\n"),
        GOOD.replace("\n3\n", "\n03\n"),
        GOOD.replace("\n3\n", "\n1_0\n"),
        GOOD.replace("\n3\n", "\n٣\n"),
        GOOD.replace("\n3\n", "\n-3\n"),
        GOOD.replace("\n3\n", "\n\n"),
        GOOD + "extension\n",
        GOOD[:-1],
        GOOD.replace("=", ""),
        GOOD.replace("A=\n", "B=\n"),
        GOOD.replace("\n", "\r\n"),
        GOOD.replace(ORIGIN, ""),
        GOOD.replace(ORIGIN, "two words"),
        GOOD.replace(ROOT, base64.b64encode(bytes(31)).decode()),
    ],
)
def test_a_checkpoint_has_one_spelling(text: str) -> None:
    assert parse_checkpoint(GOOD.encode()).body() == GOOD.encode()
    with pytest.raises(NoteError):
        parse_checkpoint(text.encode())


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_give_a_checkpoint_or_a_note_error(data: bytes) -> None:
    for parse in (parse_checkpoint, lambda note: open_checkpoint(note, KEY)):
        try:
            checkpoint = parse(data)
        except NoteError:
            continue
        assert checkpoint.body() == data


@given(st.text(max_size=80))
def test_any_text_gives_a_key_or_a_note_error(text: str) -> None:
    try:
        key = parse_vkey(text)
    except NoteError:
        return
    assert key.text() == text.removesuffix("\n")


def flipped_signature() -> bytes:
    body = Checkpoint(ORIGIN, 3, worked_tree().root()).body()
    signature = bytearray(SIGNER.sign(body))
    signature[0] ^= 1
    return sign_note(body, (KEY, bytes(signature)))


@pytest.mark.parametrize(
    "note",
    [
        flipped_signature(),
        worked_note().replace(b"\n3\n", b"\n4\n"),
        worked_note()[:-1],
        worked_note().rpartition(b"\n\n")[0] + b"\n\n",
        worked_note().replace("—".encode(), b"-"),
        worked_note() + worked_note().rpartition(b"\n\n")[2],
        worked_note() + b"x" * 70_000,
    ],
)
def test_a_note_with_one_thing_wrong_is_refused(note: bytes) -> None:
    assert open_checkpoint(worked_note(), KEY)
    with pytest.raises(NoteError):
        open_checkpoint(note, KEY)


def test_a_checkpoint_of_another_origin_is_refused() -> None:
    body = Checkpoint("elsewhere", 3, worked_tree().root()).body()
    with pytest.raises(NoteError, match="elsewhere"):
        open_checkpoint(signed(body), KEY)


@pytest.mark.parametrize(
    "text",
    [
        KEY.text().replace(ORIGIN, "other.example"),  # the key id covers the name
        KEY.text().replace("+9", "+8", 1),
        KEY.text()[:-4],
        f"{ORIGIN}+{KEY.key_id.hex()}+{base64.b64encode(bytes([2]) + KEY.public_key).decode()}",
    ],
)
def test_a_verifier_key_with_one_thing_wrong_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        parse_vkey(text)


def test_a_signature_has_64_bytes() -> None:
    with pytest.raises(NoteError, match="64"):
        sign_note(GOOD.encode(), (KEY, bytes(63)))
