"""Signed notes, checkpoints and cosignatures: strict forms, a published log, and each byte changed."""

from __future__ import annotations

import base64
import re
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from birthmark.proof.checkpoint import Checkpoint, checkpoint_text, open_checkpoint, parse_checkpoint
from birthmark.proof.cosignature import (
    cosignature_line,
    cosignatures,
    message_to_cosign,
    require_cosignatures,
)
from birthmark.proof.errors import ProofError, Reason
from birthmark.proof.merkle import Frontier, leaf_hash, node_hash
from birthmark.proof.note import (
    MAX_NOTE_BYTES,
    SignatureType,
    VerifierKey,
    cosigned_message,
    open_note,
    parse_note,
    parse_vkey,
    signature_line,
)
from birthmark.proof.spelling import parse_decimal

PUBLISHED = (Path(__file__).parents[2] / "vectors" / "tlog" / "three-entries.md").read_text("utf-8")
ENTRIES = [b"signerd/v1 cert 0", b"signerd/v1 cert 1", b"signerd/v1 stamp 2"]
ORIGIN = "log.example.com/line"
SIGNER, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
WITNESSES = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (3, 4, 5)]
TEXT = checkpoint_text(ORIGIN, 3, bytes(32))
TIME = 1_679_315_147


def _key(signer: Ed25519PrivateKey, name: str = ORIGIN) -> VerifierKey:
    return VerifierKey(name, signer.public_key().public_bytes_raw())


def _witness(signer: Ed25519PrivateKey, name: str = "") -> VerifierKey:
    public = signer.public_key().public_bytes_raw()
    return VerifierKey(name or f"witness.example/{public[0]}", public, SignatureType.COSIGNATURE)


KEY = _key(SIGNER)


def _note(text: str = TEXT, signer: Ed25519PrivateKey = SIGNER, name: str = ORIGIN) -> bytes:
    return text.encode() + b"\n" + signature_line(_key(signer, name), signer.sign(text.encode()))


def _line(data: bytes) -> bytes:
    return data.rpartition(b"\n\n")[2]


def _cosigned(*signers: Ed25519PrivateKey, time: int = TIME) -> bytes:
    data = _note()
    message = message_to_cosign(parse_checkpoint(data, ORIGIN), time)
    return data + b"".join(cosignature_line(_witness(one), time, one.sign(message)) for one in signers)


def _reason(data: bytes, *keys: VerifierKey) -> Reason:
    with pytest.raises(ProofError) as raised:
        open_checkpoint(data, keys or [KEY])
    return raised.value.reason


def published(name: str) -> str:
    """A value of the worked log."""
    found = re.search(rf"^{re.escape(name)} +(\S+)$", PUBLISHED, re.MULTILINE)
    assert found is not None
    return found[1]


def published_checkpoint() -> bytes:
    found = re.search(r"```\n(log\.example\.com[^`]+— [^`]+\n)```", PUBLISHED)
    assert found is not None
    return found[1].encode()


def test_the_published_log_to_the_byte() -> None:
    key = parse_vkey(published("vkey"))
    checkpoint = open_checkpoint(published_checkpoint(), [key])
    leaves = [leaf_hash(entry) for entry in ENTRIES]
    assert [leaf.hex() for leaf in leaves] == [published(f"leaf{index}") for index in range(3)]
    assert node_hash(*leaves[:2]).hex() == published("node(0,1)")
    frontier = Frontier()
    frontier.extend(leaves)
    assert (checkpoint.size, checkpoint.root) == (3, frontier.root())
    assert checkpoint.root.hex() == published("root")
    assert checkpoint.note == published_checkpoint()
    assert key.text() == published("vkey")
    seed = sha256(b"signerd demo log key").digest()
    text = checkpoint_text(key.name, 3, checkpoint.root)
    signature = Ed25519PrivateKey.from_private_bytes(seed).sign(text.encode())
    assert text.encode() + b"\n" + signature_line(key, signature) == published_checkpoint()


def test_a_note_tells_which_keys_signed_it() -> None:
    data = _note() + _line(_note(signer=OTHER))
    assert open_note(data, [KEY]).signers == (KEY,)
    assert open_note(data, [_key(OTHER), KEY]).signers == (_key(OTHER), KEY)
    assert open_note(_note(), [_key(OTHER), KEY]).signers == (KEY,)
    assert open_note(data, [KEY]).text == TEXT


def test_one_key_twice_is_one_signer() -> None:
    assert open_note(_note(), [KEY, KEY]).signers == (KEY,)


def test_lines_of_strangers_are_passed_over() -> None:
    stranger = _line(_note(signer=OTHER, name="elsewhere.example"))
    namesake = _line(_note(signer=OTHER))
    same_id = signature_line(KEY, bytes(64)).replace(ORIGIN.encode(), b"other.example")
    data = _note() + stranger + namesake + same_id + _line(_cosigned(WITNESSES[0]))
    assert open_checkpoint(data, [KEY]).size == 3


def test_the_same_signature_twice_is_one() -> None:
    assert open_checkpoint(_note() + _line(_note()), [KEY]).size == 3


@pytest.mark.parametrize(
    "data", [_note(signer=OTHER), _note(name="other.example")], ids=["another key", "another name"]
)
def test_what_another_key_has_signed_is_unsigned(data: bytes) -> None:
    assert _reason(data) is Reason.UNSIGNED


@pytest.mark.parametrize(
    "data",
    [
        _note().replace(b"\n3\n", b"\n4\n"),
        _note().replace(b"\n\n", b"\n\n\n"),
        _note() + _line(_note(TEXT + "more\n")),
        _note() + signature_line(KEY, SIGNER.sign(TEXT.encode())[:-1]),
    ],
    ids=[
        "another size",
        "an empty line more",
        "two signatures",
        "a short one beside it",
    ],
)
def test_a_signature_that_does_not_hold_is_wrong(data: bytes) -> None:
    assert _reason(data) is Reason.WRONG_SIGNATURE


def test_a_wrong_signature_of_one_of_two_keys_is_fatal() -> None:
    wrong = signature_line(_key(OTHER), bytes(64))
    assert open_checkpoint(_note() + wrong, [KEY]).size == 3
    assert _reason(_note() + wrong, KEY, _key(OTHER)) is Reason.WRONG_SIGNATURE


def test_a_text_may_have_empty_lines() -> None:
    assert open_note(_note("one\n\n\ntwo\n"), [KEY]).text == "one\n\n\ntwo\n"
    assert open_note(_note("\n"), [KEY]).text == "\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"=\n", b"="),
        (b"\n\n", b"\n"),
        ("\u2014 ".encode(), b"- "),
        ("\u2014 ".encode(), "\u2014".encode()),
        (b"\n3\n", b"\n3\r\n"),
        (b"\n3\n", b"\n3\x00\n"),
        (b"log.", b"\xff."),
        (b"=\n\n", b"=\n\n- a line of no form\n"),
        (b"=\n\n", "=\n\n\u2014 name AAAA\n".encode()),
        (b"=\n\n", "=\n\n\u2014 na+me AAAAAAAA\n".encode()),
        (b"=\n\n", "=\n\n\u2014 na\u2003me AAAAAAAA\n".encode()),
        (b"=\n\n", "=\n\n\u2014 name AAAAAAB=\n".encode()),
        (b"=\n\n", b"=\n\n" + "\u2014 name AAAAAAAA\n".encode() * 64),
        (b"line\n", b"line" + bytes([65]) * MAX_NOTE_BYTES + b"\n"),
    ],
    ids=repr,
)
def test_notes_of_another_form_are_refused(old: bytes, new: bytes) -> None:
    data = _note()
    assert old in data
    with pytest.raises(ProofError) as raised:
        parse_note(data.replace(old, new, 1) if old != b"=\n" else data[:-1])
    assert raised.value.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\n3\n", "\n\n"),
        ("\n3\n", "\n03\n"),
        ("\n3\n", "\n+3\n"),
        ("\n3\n", "\n1_0\n"),
        ("\n3\n", f"\n{2**63}\n"),
        ("\n3\n", "\n\uff13\n"),
        ("=\n", "\n"),
        ("AAA=", "AAB="),
        ("AAAA", ""),
        (ORIGIN, ORIGIN + "/x"),
        ("=\n", "=\nextension\n"),
    ],
)
def test_signed_checkpoints_of_another_form_are_refused(old: str, new: str) -> None:
    assert old in TEXT
    assert _reason(_note(TEXT.replace(old, new, 1))) is Reason.MALFORMED


def test_the_largest_tree_is_read() -> None:
    text = checkpoint_text(ORIGIN, 2**63 - 1, bytes(32))
    assert open_checkpoint(_note(text), [KEY]).size == 2**63 - 1


@pytest.mark.parametrize("text", ["", "+1", "-1", "01", "1_0", " 1", "1 ", "１", "1e3", str(2**63), "9" * 30])
def test_numbers_in_another_spelling_are_refused(text: str) -> None:
    assert parse_decimal("10") == 10
    with pytest.raises(ProofError):
        parse_decimal(text)


@pytest.mark.parametrize(
    "keys",
    [[], [KEY, _key(OTHER, "other.example")], [KEY, _witness(WITNESSES[0], ORIGIN)]],
    ids=["none", "of two logs", "of a witness"],
)
def test_a_checkpoint_is_opened_with_keys_of_one_log(keys: list[VerifierKey]) -> None:
    with pytest.raises(ProofError, match="one log"):
        open_checkpoint(_note(), keys)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (ORIGIN, "other"),
        (ORIGIN, "pa per"),
        (ORIGIN, ""),
        ("+", "-"),
        (f"+{KEY.key_id.hex()}", "+00000000"),
        (f"+{KEY.key_id.hex()}", f"+{KEY.key_id.hex().upper()}"),
        ("+A", "+B"),
        (KEY.text()[-4:], ""),
    ],
)
def test_verifier_keys_of_another_form_are_refused(old: str, new: str) -> None:
    text = KEY.text()
    assert old in text
    assert parse_vkey(text) == parse_vkey(text + "\n") == KEY
    with pytest.raises(ProofError):
        parse_vkey(text.replace(old, new, 1))


def test_a_verifier_key_of_another_type_is_refused() -> None:
    typed = bytes([2]) + KEY.public_key
    key_id = sha256(ORIGIN.encode() + b"\n" + typed).digest()[:4]
    with pytest.raises(ProofError, match="neither"):
        parse_vkey(f"{ORIGIN}+{key_id.hex()}+{base64.b64encode(typed).decode()}")


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u00a0b", "x" * 256, "\ud800"])
def test_a_key_has_a_name_that_can_stand_on_a_line(name: str) -> None:
    assert VerifierKey("x" * 255, KEY.public_key)
    with pytest.raises(ProofError):
        VerifierKey(name, KEY.public_key)


def test_a_public_key_has_32_bytes() -> None:
    with pytest.raises(ProofError):
        VerifierKey(ORIGIN, bytes(33))


# Cosignatures


def test_what_a_witness_signs_is_what_the_specification_shows() -> None:
    """The example of tlog-cosignature."""
    root = base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
    checkpoint = Checkpoint("example.com/behind-the-sofa", 20_852_163, root, b"")
    assert message_to_cosign(checkpoint, 1_679_315_147) == (
        b"cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\n"
        b"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    )


def test_cosignatures_are_counted() -> None:
    checkpoint = open_checkpoint(_cosigned(*WITNESSES[:2]), [KEY])
    witnesses = [_witness(one) for one in WITNESSES]
    found = require_cosignatures(checkpoint, witnesses, at_least=2)
    assert [(one.witness, one.time) for one in found] == [(one, TIME) for one in witnesses[:2]]
    with pytest.raises(ProofError, match="2 of 3 witnesses signed, and 3 must") as raised:
        require_cosignatures(checkpoint, witnesses, at_least=3)
    assert raised.value.reason is Reason.UNSIGNED


def test_a_witness_counts_once_whatever_its_names() -> None:
    one = WITNESSES[0]
    again = _witness(one, "second.example")
    message = message_to_cosign(parse_checkpoint(_note(), ORIGIN), TIME)
    data = _cosigned(one) + cosignature_line(again, TIME, one.sign(message))
    checkpoint = open_checkpoint(data, [KEY])
    assert len(cosignatures(checkpoint, [_witness(one), again, again])) == 1
    with pytest.raises(ProofError, match="1 of 2"):
        require_cosignatures(checkpoint, [_witness(one), again], at_least=2)


def test_a_cosignature_is_of_its_time_and_its_tree() -> None:
    one = WITNESSES[0]
    for line in (
        cosignature_line(_witness(one), TIME + 1, one.sign(cosigned_message(TEXT, TIME))),
        cosignature_line(_witness(one), TIME, one.sign(cosigned_message(TEXT.replace("3", "4", 1), TIME))),
        cosignature_line(_witness(one), TIME, one.sign(TEXT.encode())),
        cosignature_line(_witness(one), TIME, OTHER.sign(cosigned_message(TEXT, TIME))),
        signature_line(_witness(one), one.sign(cosigned_message(TEXT, TIME))),  # without a time
        signature_line(_witness(one), b"\xff" * 8 + one.sign(cosigned_message(TEXT, TIME))),
    ):
        checkpoint = open_checkpoint(_note() + line, [KEY])
        with pytest.raises(ProofError) as raised:
            cosignatures(checkpoint, [_witness(one)])
        assert raised.value.reason is Reason.WRONG_SIGNATURE


def test_the_logs_own_signature_is_no_cosignature() -> None:
    """One key for both: the types keep them apart."""
    both = VerifierKey(ORIGIN, KEY.public_key, SignatureType.COSIGNATURE)
    assert both.key_id != KEY.key_id
    assert parse_vkey(both.text()) == both
    assert cosignatures(open_checkpoint(_note(), [KEY]), [both]) == ()
    with pytest.raises(ProofError, match="type 04"):
        cosignatures(open_checkpoint(_note(), [KEY]), [KEY])


@pytest.mark.parametrize("time", [-1, 2**63])
def test_the_time_of_a_cosignature_is_bounded(time: int) -> None:
    checkpoint, witness = parse_checkpoint(_note(), ORIGIN), _witness(WITNESSES[0])
    for bound in (0, 2**63 - 1):
        assert message_to_cosign(checkpoint, bound)
        assert cosignature_line(witness, bound, bytes(64))
    with pytest.raises(ProofError):
        message_to_cosign(checkpoint, time)
    with pytest.raises(ProofError):
        cosignature_line(witness, time, bytes(64))


@pytest.mark.parametrize("line", [(KEY, bytes(64)), (_witness(WITNESSES[0]), bytes(63))], ids=["key", "size"])
def test_a_line_that_is_no_cosignature_is_not_made(line: tuple[VerifierKey, bytes]) -> None:
    key, signature = line
    with pytest.raises(ProofError):
        cosignature_line(key, TIME, signature)


# Any bytes


@given(st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ProofError):
        open_checkpoint(data, [KEY])
    with pytest.raises(ProofError):
        parse_vkey(data.decode("latin-1"))


@given(st.text(max_size=80))
def test_any_text_is_a_key_in_its_one_spelling_or_none(text: str) -> None:
    try:
        key = parse_vkey(text)
    except ProofError:
        return
    assert key.text() == text.removesuffix("\n")


@pytest.mark.parametrize("data", [_note(), _cosigned(WITNESSES[0])], ids=["signed", "cosigned"])
def test_each_byte_changed_is_refused(data: bytes) -> None:
    """By the log's keys or by the witness's, in whose line the log's signature does not reach."""
    witness = _witness(WITNESSES[0])
    whole = len(cosignatures(open_checkpoint(data, [KEY]), [witness]))
    for position in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            with pytest.raises(ProofError):
                require_cosignatures(open_checkpoint(bytes(changed), [KEY]), [witness], at_least=whole)
