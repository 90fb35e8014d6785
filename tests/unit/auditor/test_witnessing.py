"""Answers of a witness: every status of tlog-witness, each of a request that passes but for one thing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from http import HTTPStatus

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from auditor.core.witnessing import Kept, NotCosigned, judge, parse_request, signed_checkpoint
from birthmark.proof import VerifierKey
from birthmark.proof.checkpoint import checkpoint_text
from birthmark.proof.note import signature_line
from signerd.core.merkle import Tree, leaf_hash

ORIGIN = "example.com/log"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
LOG = VerifierKey(ORIGIN, KEY.public_key().public_bytes_raw())
LOGS = {ORIGIN: [LOG]}
TREE, OTHER = Tree(), Tree()
for number in range(300):
    TREE.append(leaf_hash(number.to_bytes(2, "big")))
    OTHER.append(leaf_hash((number + (number == 2)).to_bytes(2, "big")))


def note(
    size: int, root: bytes | None = None, *, key: Ed25519PrivateKey = KEY, origin: str = ORIGIN
) -> bytes:
    text = checkpoint_text(origin, size, TREE.root(size) if root is None else root)
    name = VerifierKey(origin, key.public_key().public_bytes_raw())
    return text.encode() + b"\n" + signature_line(name, key.sign(text.encode()))


def body(old: int, proof: list[bytes], shown: bytes) -> bytes:
    return b"\n".join([b"old %d" % old, *map(base64.b64encode, proof), b"", shown])


def answered(data: bytes, kept: Kept) -> int:
    """The size that is cosigned."""
    request = parse_request(data)
    checkpoint = signed_checkpoint(request, LOGS)
    judge(request, checkpoint, kept)
    return checkpoint.size


def kept(size: int) -> Kept:
    return Kept(size, TREE.root(size) if size else bytes(32))


def refused(data: bytes, kept: Kept) -> NotCosigned:
    with pytest.raises(NotCosigned) as caught:
        answered(data, kept)
    return caught.value


SIZES = [1, 2, 3, 7, 8, 15, 255, 256, 257, 258, 299, 300]


def test_each_size_follows_each_before() -> None:
    for new in SIZES:
        assert answered(body(0, [], note(new)), kept(0)) == new
        for old in (size for size in SIZES if size <= new):
            assert answered(body(old, TREE.consistency(old, new), note(new)), kept(old)) == new


def test_signatures_of_others_are_passed_over() -> None:
    line = signature_line(VerifierKey("other.example/w", bytes(32)), bytes(64))
    assert answered(body(0, [], note(7) + line), kept(0)) == 7


def test_the_size_that_was_cosigned_last_is_said() -> None:
    for old, at in ((0, 7), (8, 7), (7, 0)):
        error = refused(body(old, [], note(15)), kept(at))
        assert (error.status, error.size, error.told) == (HTTPStatus.CONFLICT, at, "")


def test_a_rollback_is_refused() -> None:
    error = refused(body(8, [], note(7)), kept(8))
    assert (error.status, error.size) == (HTTPStatus.BAD_REQUEST, None)
    error = refused(body(7, [], note(7)), kept(8))
    assert (error.status, error.size) == (HTTPStatus.CONFLICT, 8)


def test_a_fork_is_refused_and_said() -> None:
    forked = note(15, OTHER.root(15))
    for proof in (TREE.consistency(7, 15), OTHER.consistency(7, 15), []):
        error = refused(body(7, proof, forked), kept(7))
        assert (error.status, error.told) == (HTTPStatus.UNPROCESSABLE_ENTITY, "unproven")
    error = refused(body(7, [], note(7, OTHER.root(7))), kept(7))
    assert (error.status, error.size, error.told) == (HTTPStatus.CONFLICT, None, "fork")


@pytest.mark.parametrize(
    "alter",
    [
        lambda proof: proof[:-1],
        lambda proof: [*proof, bytes(32)],
        lambda proof: proof[::-1],
        lambda proof: [bytes(32), *proof[1:]],
    ],
)
def test_a_wrong_proof(alter: Callable[[list[bytes]], list[bytes]]) -> None:
    """It says nothing of the log: who sent it may have altered it."""
    error = refused(body(7, alter(TREE.consistency(7, 15)), note(15)), kept(7))
    assert error.status is HTTPStatus.UNPROCESSABLE_ENTITY


def test_a_proof_from_nothing() -> None:
    assert refused(body(0, [bytes(32)], note(7)), kept(0)).status is HTTPStatus.UNPROCESSABLE_ENTITY


def test_an_empty_tree() -> None:
    empty = hashlib.sha256().digest()
    assert answered(body(0, [], note(0, empty)), kept(0)) == 0
    assert refused(body(0, [], note(0, bytes(32))), kept(0)).told == "fork"


def test_an_unknown_log_and_an_unknown_key() -> None:
    other = Ed25519PrivateKey.generate()
    assert refused(body(0, [], note(7, key=other, origin="else")), kept(0)).status is HTTPStatus.NOT_FOUND
    assert refused(body(0, [], note(7, key=other)), kept(0)).status is HTTPStatus.FORBIDDEN
    turned = note(7).replace(b"\n7\n", b"\n8\n")
    assert refused(body(0, [], turned), kept(0)).status is HTTPStatus.FORBIDDEN


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"old 0\n",
        note(7),
        body(0, [], b""),
        body(0, [], b"\n\n"),
        b"old -1\n\n" + note(7),
        b"old 00\n\n" + note(7),
        b"old +0\n\n" + note(7),
        b"old 1_0\n\n" + note(7),
        b"old  0\n\n" + note(7),
        b"old 0 \n\n" + note(7),
        b"OLD 0\n\n" + note(7),
        b"old 0\r\n\r\n" + note(7),
        b"old 99999999999999999999\n\n" + note(7),
        b"old 7\nAAAA\n\n" + note(15),
        b"old 7\n!\n\n" + note(15),
        body(7, [bytes(32)] * 64, note(15)),
        body(0, [], note(7)[:-1]),
        b"\xff" * 400,
    ],
)
def test_what_is_no_request(data: bytes) -> None:
    assert refused(data, kept(0)).status is HTTPStatus.BAD_REQUEST
