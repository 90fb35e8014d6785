"""Attacks on a key holder's service by whoever has signerd's user, files and socket: leaves beyond the signed
orders, approvals used twice, frames of any look, restarts and old states, and no token.

Most go over the socket by hand (`harness.held_factory.Line`), where nothing of signerd's own stands between.
"""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import shutil
import socket
import sqlite3
import stat
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cbor2
import grpc
import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from grpc_health.v1 import health_pb2, health_pb2_grpc

from harness.factory import LINE, step_begun
from harness.forged_leaves import TIME, Forger, Members
from harness.held_factory import HeldFactory, Line
from harness.installation import SENSOR, product_toml
from harness.key_holder_that_dies import COMMAND
from harness.process import ProgramError, run, wait_until
from harness.ssh_signing import SshSigner
from signerd.adapters.keyholder.protocol import (
    MAX_FRAME,
    FrameReader,
    Operation,
    Outcome,
    frame,
    hello_frame,
)
from signerd.adapters.keyholder.service.settings import load
from signerd.adapters.keyholder.service.status import read_status
from signerd.core.note import Checkpoint

pytestmark = pytest.mark.check

SIGN = Operation.SIGN_CERTIFICATE
REFUSED = Outcome.REFUSED
MOST_MEMORY = 400 * 2**20  # bytes of the service's own process
MOST_LOGGED = 400_000  # bytes, of the whole module


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeldFactory]:
    with HeldFactory(tmp_path_factory.mktemp("held")) as factory:
        yield factory


@pytest.fixture(scope="module")
def forger(factory: HeldFactory) -> Forger:
    return Forger(factory)


@pytest.fixture
def line(factory: HeldFactory) -> Iterator[Line]:
    with Line(factory.service_socket, factory.issuer) as line:
        assert line.greeting == (Outcome.DONE, "ready")
        yield line


def all_of(line: Line, requests: list[tuple[Any, ...]]) -> list[list[Any]]:
    """Asks for all of them at once; the answers."""
    for number, request in enumerate(requests, 1):
        line.send([number, *request])
    answers = [line.read() for _ in requests]
    assert [answer[0] for answer in answers] == list(range(1, len(requests) + 1))
    return answers


def known(factory: HeldFactory) -> dict[str, Any]:
    """As `signerd key-holder status --json` says."""
    return read_status(load(factory.settings)).members()


def places(factory: HeldFactory, work_order: str) -> int:
    (order,) = (order for order in known(factory)["orders"] if order["work_order"] == work_order)
    found: int = order["places"]
    return found


def not_taken(answer: tuple[Outcome, Any]) -> str:
    outcome, text = answer
    assert outcome is REFUSED, text
    assert isinstance(text, str)
    return text


def refused(line: Line, tbs: bytes, leaf: object) -> str:
    return not_taken(line.ask(SIGN, tbs, leaf))


def test_the_honest_twin_and_the_same_bytes_again(factory: HeldFactory, forger: Forger, line: Line) -> None:
    order = forger.order("WO-TWIN")
    forger.approve(line, order)
    tbs, leaf = forger.leaf(order, 1)
    answers = all_of(line, [(SIGN, tbs, leaf)] * 100)
    assert {answer[1] for answer in answers} == {Outcome.DONE}
    for _, _, signature in answers:
        issuer = forger.issuer.certificate.public_key()
        assert isinstance(issuer, ec.EllipticCurvePublicKey)
        issuer.verify(signature, tbs, ec.ECDSA(hashes.SHA256()))
    assert places(factory, "WO-TWIN") == 1


def test_no_line_waits_behind_the_crowd_of_another(factory: HeldFactory, forger: Forger, line: Line) -> None:
    """A thousand stations at once, and a signerd that hands all of them on."""
    order = forger.order("WO-CROWD", quantity=601)
    forger.approve(line, order)
    crowd = [(SIGN, *forger.leaf(order, number)) for number in range(1, 601)]
    with ThreadPoolExecutor(1) as asking, Line(factory.service_socket, factory.issuer) as other:
        sent = asking.submit(line.send_bytes, b"".join(map(framed_request, enumerate(crowd, 1))))
        line.read()  # they are at work
        assert other.ask(SIGN, *forger.leaf(order, 601))[0] is Outcome.DONE
        answered = 1 + line.arrived()
        assert answered < 500, "it had to wait for the others"
        assert {line.read()[1] for _ in range(600 - answered)} == {Outcome.DONE}
        sent.result()
    assert places(factory, "WO-CROWD") == 601


# Each changes one thing of what the twin is: (the leaf's members, what the certificate is made of).
OTHER_PLACES: dict[str, dict[str, Any]] = {
    "a place beyond the quantity": {"number": 3, "serial_number": "WO-LEAVES-0003"},
    "place nought": {"number": 0},
    "a serial number of no order": {"serial_number": "BM-999999"},
    "another place's serial number": {"serial_number": "WO-LEAVES-0002"},
    "a moment before the order": {"moment": datetime.now(UTC).replace(microsecond=0) - timedelta(days=3)},
    "a moment to come": {"moment": datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)},
    "another order's name": {"work_order": "WO-NOBODY"},
    "another product's name": {"product": "gateway"},
    "a chip id that is none": {"chip_id": "a/b"},
}
OTHER_LEAVES: dict[str, dict[str, Any]] = {
    "another order": {"work_order": "WO-NOBODY"},
    "another product": {"product": "gateway"},
    "another revision": {"product_sha256": bytes(32)},
    "another certificate of the product": {"name": "operator"},
    "a lower level": {"level": "none"},
    "a level that is none": {"level": "highest"},
    "a method that the product does not take": {"method": "tpm2"},
    "another chip than the certificate's": {"chip_id": "chip-2"},
    "a huge number": {"number": 10**5000},
    "a negative number": {"number": -1},
    "true in the place of a number": {"number": True},
    "a huge serial": {"certificate_serial": 2**160},
    "a moment without end": {"moment": 2**63},
    "a huge moment": {"moment": -(2**63)},
    "a long text": {"work_order": "W" * 100_000},
    "one more member": {"ca": True},
    "bytes in the place of text": {"method": b"hmac-sha256"},
    "a digest of another length": {"evidence_sha256": b""},
}


def test_leaves_that_the_order_does_not_give(factory: HeldFactory, forger: Forger, line: Line) -> None:
    order = forger.order("WO-LEAVES")
    forger.approve(line, order)
    for what, named in OTHER_PLACES.items():
        place = dict(named)
        number = place.pop("number", 1)
        tbs, leaf = forger.leaf(order, number or 1, **place)
        assert line.ask(SIGN, tbs, {**leaf, "number": number})[0] is REFUSED, what
    for what, changes in OTHER_LEAVES.items():
        tbs, leaf = forger.leaf(order, 1)
        assert line.ask(SIGN, tbs, {**leaf, **changes})[0] is REFUSED, what
    tbs, leaf = forger.leaf(order, 1)
    others: tuple[object, ...] = (None, {}, [], "WO-LEAVES", {**leaf, "number": None})
    for other in others:
        refused(line, tbs, other)
    assert places(factory, "WO-LEAVES") == 0


def test_certificates_that_the_product_does_not_give(
    factory: HeldFactory, forger: Forger, line: Line
) -> None:
    """What the leaf says is the order's; what is to be signed is not."""
    order = forger.order("WO-PROFILE")
    forger.approve(line, order)
    tbs, leaf = forger.leaf(order, 1)
    longer = SENSOR.replace("validity_days = 7300", "validity_days = 7299")
    named = SENSOR.replace('"Example Corp"', '"Another Corp"')
    more = SENSOR.replace('["clientAuth"]', '["clientAuth", "serverAuth"]')
    assert len({SENSOR, longer, named, more}) == 4
    for toml in (longer, named, more, product_toml(certificate_extension="1.3.6.1.4.1.60000.1")):
        other, _ = forger.leaf(
            order,
            1,
            toml=toml,
            certificate_serial=leaf["certificate_serial"],
            moment=datetime.fromtimestamp(leaf["moment"], UTC),
        )
        assert other != tbs
        refused(line, other, leaf)
    for key in (
        rsa.generate_private_key(65537, 2048).public_key(),
        ec.generate_private_key(ec.SECP521R1()).public_key(),
        forger.issuer.certificate.public_key(),
    ):
        refused(line, *forger.leaf(order, 1, key=key))  # type: ignore[arg-type] # which the product refuses
    refused(line, authority_of(forger, order), leaf)
    refused(line, forger.issuer.certificate.tbs_certificate_bytes, leaf)
    for cut in (tbs[:-1], tbs + b"\x00", b"", tbs[: len(tbs) // 2], b"\x30\x80" + tbs[4:], tbs * 40):
        refused(line, cut, leaf)
    assert places(factory, "WO-PROFILE") == 0
    assert line.ask(SIGN, tbs, leaf)[0] is Outcome.DONE


def authority_of(forger: Forger, order: Members) -> bytes:
    """A sub-CA of the sub-CA, to be signed."""
    _, leaf = forger.leaf(order, 1)
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, leaf["serial_number"])]))
        .issuer_name(forger.issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(leaf["certificate_serial"])
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(forger.issuer.authority_key_identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    return made.tbs_certificate_bytes


def test_more_certificates_than_the_order_has(factory: HeldFactory, forger: Forger, line: Line) -> None:
    never, always = forger.order("WO-NEVER"), forger.order("WO-ALWAYS", quantity=1, reissue="always")
    forger.approve(line, never, always)
    answers = all_of(line, [(SIGN, *forger.leaf(never, 1)) for _ in range(300)])
    assert Counter(answer[1] for answer in answers) == {Outcome.DONE: 1, REFUSED: 299}
    answers = all_of(line, [(SIGN, *forger.leaf(always, 1)) for _ in range(40)])
    assert Counter(answer[1] for answer in answers) == {Outcome.DONE: 16, REFUSED: 24}
    tbs, leaf = forger.leaf(never, 2)
    assert line.ask(SIGN, tbs, leaf)[0] is Outcome.DONE
    assert (places(factory, "WO-NEVER"), places(factory, "WO-ALWAYS")) == (2, 1)


def test_two_certificates_of_one_serial(forger: Forger, line: Line) -> None:
    """Whoever revoked the one would revoke the other board's too."""
    order = forger.order("WO-SERIALS")
    forger.approve(line, order)
    tbs, leaf = forger.leaf(order, 1)
    assert line.ask(SIGN, tbs, leaf)[0] is Outcome.DONE
    text = refused(line, *forger.leaf(order, 2, certificate_serial=leaf["certificate_serial"]))
    assert "another certificate" in text


def test_outside_of_the_window(forger: Forger, line: Line) -> None:
    now = datetime.now(UTC)
    past = forger.order("WO-PAST", not_after=f"{now - timedelta(hours=1):{TIME}}")
    to_come = forger.order("WO-TO-COME", not_before=f"{now + timedelta(hours=1):{TIME}}")
    ends = forger.order("WO-ENDS", not_before="0001-01-01T00:00:00Z", not_after="9999-12-31T23:59:59Z")
    forger.approve(line, past, to_come, ends)
    moment = now.replace(microsecond=0) - timedelta(hours=2)
    refused(line, *forger.leaf(past, 1, moment=moment))
    refused(line, *forger.leaf(to_come, 1))
    assert line.ask(SIGN, *forger.leaf(ends, 1))[0] is Outcome.DONE


def test_a_closed_order_stays_closed(factory: HeldFactory, forger: Forger, line: Line) -> None:
    order = forger.order("WO-CLOSED")
    statement, held_back = forger.statement(order), forger.statement({**order, "quantity": 90})
    assert forger.show(line, statement) == (Outcome.DONE, True)
    assert line.ask(Operation.CLOSE_ORDER, "WO-CLOSED") == (Outcome.DONE, None)
    refused(line, *forger.leaf(order, 1))
    # The same approval is one that was used; another one, signed before and never used, comes too late.
    assert forger.show(line, statement) == (Outcome.DONE, True)
    assert "closed" in not_taken(forger.show(line, held_back))
    refused(line, *forger.leaf(order, 1))
    assert line.ask(Operation.CLOSE_ORDER, "WO-OF-NOBODY") == (Outcome.DONE, None)
    assert "WO-OF-NOBODY" not in {each["work_order"] for each in known(factory)["orders"]}


def test_an_approval_that_does_not_hold(factory: HeldFactory, forger: Forger, line: Line) -> None:
    order = forger.order("WO-UNSIGNED")
    statement, now = forger.statement(order), datetime.now(UTC).replace(microsecond=0)
    text = statement.text()
    ann, bob = forger.sign(text)
    stranger = SshSigner.ed25519().sign(text, "birthmark-approval-v1@dev")
    other = forger.sign(text, deployment="another")
    for shown in (
        (text,),
        (text, ann),
        (text, ann, ann, ann),
        (text, ann, stranger),
        (text, ann, bob, stranger),
        (text, *other),
        (text, ann, bob[: len(bob) // 2]),
        (text, ann, b""),
        (text, *[ann] * 17),
        (text + b"\n", ann, bob),
        (text.replace(b'"quantity": 2', b'"quantity": 9').replace(b"quantity: 2", b"quantity: 9"), ann, bob),
        (text, ann, bob.decode()),
        (),
    ):
        assert line.ask(Operation.SHOW_APPROVAL, *shown)[0] is REFUSED
    for wrong in (
        replace(statement, deployment="another"),
        replace(statement, log=statement.log.replace("+", "x+", 1)),
        replace(statement, expires=now - timedelta(seconds=1)),
        replace(statement, expires=now + timedelta(days=91)),
    ):
        assert forger.show(line, wrong)[0] is REFUSED
    # An action of another kind says nothing about orders, whoever signed it.
    assert forger.show(line, replace(statement, action="product_added")) == (Outcome.DONE, False)
    assert "WO-UNSIGNED" not in {each["work_order"] for each in known(factory)["orders"]}


def test_an_approval_used_twice(factory: HeldFactory, forger: Forger, line: Line) -> None:
    order = forger.order("WO-ONCE")
    statement = forger.statement(order)
    assert forger.show(line, statement) == (Outcome.DONE, True)
    assert line.ask(Operation.SHOW_PRODUCT, SENSOR) == (Outcome.DONE, None)
    assert line.ask(SIGN, *forger.leaf(order, 1))[0] is Outcome.DONE
    for _ in range(3):
        assert forger.show(line, statement) == (Outcome.DONE, True)
    assert places(factory, "WO-ONCE") == 1
    refused(line, *forger.leaf(order, 1))
    # Another statement under the number of one that was used, and another order under a name with leaves.
    more = {**order, "quantity": 50}
    assert forger.show(line, replace(statement, entries=(more,)))[0] is REFUSED
    assert forger.show(line, forger.statement(more))[0] is REFUSED
    refused(line, *forger.leaf(more, 3))


def test_another_order_of_a_name_takes_the_place_of_one_without_leaves(forger: Forger, line: Line) -> None:
    first = forger.order("WO-AGAIN", quantity=9)
    second = {**first, "quantity": 1}
    forger.approve(line, first)
    forger.approve(line, second)
    refused(line, *forger.leaf(first, 2))
    assert line.ask(SIGN, *forger.leaf(second, 1))[0] is Outcome.DONE


STRANGE: tuple[dict[str, object], ...] = (
    {"quantity": 0},
    {"quantity": -1},
    {"quantity": True},
    {"quantity": 10**4000},
    {"quantity": "2"},
    {"serial_start": -5},
    {"serial_start": 10**4000},
    {"serial_pattern": "no field"},
    {"serial_pattern": ["{number}"]},
    {"serial_pattern": "a b {number}"},
    {"serial_pattern": "X" * 64 + "{number}"},
    {"serial_pattern": "{number:099d}"},
    {"work_order": 5},
    {"work_order": "a\u001b[31m"},
    {"work_order": ["x"]},
    {"product": None},
    {"product_sha256": "00"},
    {"product_sha256": "AB" * 32},
    {"product_sha256": {"a": 1}},
    {"not_before": "yesterday"},
    {"not_after": 5},
    {"level": ["key"]},
    {"level": "highest"},
    {"reissue": {}},
    {"reissue": "sometimes"},
)


def test_strange_orders_that_people_signed(factory: HeldFactory, forger: Forger, line: Line) -> None:
    good = forger.order("WO-GOOD")
    for number, strange in enumerate(STRANGE):
        order = {**forger.order(f"WO-STRANGE-{number}"), **strange}
        # With a good one beside it: a statement counts whole or not at all.
        assert forger.show(line, forger.statement(good, order))[0] is REFUSED, strange
    for name in good:
        order = {key: value for key, value in forger.order("WO-CUT").items() if key != name}
        assert forger.show(line, forger.statement(order))[0] is REFUSED, name
    for entry in (
        {"threshold": 3, "administrators": []},
        {"threshold": True, "administrators": []},
        {"threshold": 1, "administrators": [{"name": "x"}]},
        {},
    ):
        assert forger.show(line, forger.statement(entry, action="administrators_set"))[0] is REFUSED
    for issuer in (
        {"ca": 5},
        {"ca": "main", "certificate_sha256": "00"},
        {"ca": "\u001b", "certificate_sha256": "0" * 64},
    ):
        assert forger.show(line, forger.statement(issuer, action="issuer_activated"))[0] is REFUSED
    for places in (0, -1, True, "1", 10**4000, 2**63):
        share = {"work_order": "WO-TWIN", "giver": "other", "taker": "main", "places": places}
        assert forger.show(line, forger.statement(share, action="share_given"))[0] is REFUSED, places
    found = {each["work_order"] for each in known(factory)["orders"]}
    assert not {name for name in found if "STRANGE" in name or name in ("WO-GOOD", "WO-CUT")}


def test_administrators_that_were_removed(factory: HeldFactory, forger: Forger, line: Line) -> None:
    before = known(factory)

    def set_of(*names: str) -> Members:
        keys = {each["name"]: each for each in before["administrators"]}
        return {"threshold": 2, "administrators": [keys[name] for name in names]}

    removal = forger.statement(set_of("ann", "bob"), action="administrators_set")
    assert forger.show(line, removal) == (Outcome.DONE, True)
    order = forger.order("WO-CAROL")
    said = not_taken(forger.show(line, forger.statement(order), ("ann", "carol")))
    assert "no administrator's key" in said
    back = forger.statement(set_of("ann", "bob", "carol"), action="administrators_set")
    assert forger.show(line, back, ("ann", "carol"))[0] is REFUSED
    assert forger.show(line, back) == (Outcome.DONE, True)
    # Shown again, an earlier set is one that was used: nobody is removed a second time.
    assert forger.show(line, removal) == (Outcome.DONE, True)
    assert known(factory)["administrators"] == before["administrators"]


def test_an_issuer_that_is_not_the_active_one(factory: HeldFactory, forger: Forger, line: Line) -> None:
    order = forger.order("WO-ISSUER")
    forger.approve(line, order)

    def activate(digest: bytes) -> None:
        entry = {"issuer": "x", "ca": "main", "certificate_sha256": digest.hex()}
        assert forger.show(line, forger.statement(entry, action="issuer_activated")) == (Outcome.DONE, True)

    activate(secrets.token_bytes(32))  # one whose key is elsewhere
    assert "active" in refused(line, *forger.leaf(order, 1))
    activate(factory.issuer)
    assert line.ask(SIGN, *forger.leaf(order, 1))[0] is Outcome.DONE


def test_products_of_no_order(forger: Forger, line: Line) -> None:
    order = forger.order("WO-UNSHOWN", product_sha256="ab" * 32)
    assert forger.show(line, forger.statement(order)) == (Outcome.DONE, True)
    assert "not shown" in refused(line, *forger.leaf(order, 1))
    answers = all_of(line, [(Operation.SHOW_PRODUCT, f"# {number}\n{SENSOR}") for number in range(300)])
    assert {answer[1] for answer in answers} == {REFUSED}
    for text in ("a = " + "[" * 5_000, "x" * 40_000, "\u0000", SENSOR.encode(), 5, None):
        assert line.ask(Operation.SHOW_PRODUCT, text)[0] is REFUSED


def test_everything_else_that_a_key_can_sign(factory: HeldFactory, forger: Forger, line: Line) -> None:
    for operation in ("derive_chip_key", "generate_keys", "reseal", "change_pin", "offers", "", "x" * 10**5):
        assert line.ask(operation, "chip-1")[0] is REFUSED
    tbs, _ = forger.leaf(forger.order("WO-NONE"), 1)
    size = known(factory)["checkpoint"]
    origin = forger.log.split("+")[0]
    for body in (
        Checkpoint(origin, size - 1, bytes(32)).body(),
        Checkpoint(origin, size, bytes(32)).body(),
        Checkpoint(origin, 0, bytes(32)).body(),
        Checkpoint("another.example/log", size + 1, bytes(32)).body(),
        f"{origin}\n{10**19}\n{'A' * 43}=\n".encode(),
        Checkpoint(origin, size + 1, bytes(32)).body() + b"more\n",
        tbs,
        b"",
    ):
        assert line.ask(Operation.SIGN_CHECKPOINT, body)[0] is REFUSED
    assert known(factory)["checkpoint"] == size
    for crl in (tbs, b"", bytes(100_000)):
        assert line.ask(Operation.SIGN_CRL, crl)[0] is REFUSED
    for arguments in ((0, 0), (10**6, 0), (-1, 0), (2**80, 0), (True, False), ("1", 0), ()):
        assert line.ask(Operation.SESSION_KEY, *arguments)[0] is REFUSED
    starts: tuple[tuple[object, ...], ...] = ((), (b"",), (bytes(15),), (bytes(10_000),), ("0" * 16,))
    for start in (*starts, (bytes(16), bytes(16))):
        assert line.ask(Operation.COMMIT_KEY, *start)[0] is REFUSED
    for question in (
        ("chip-1", "master", "sha256", b"x", bytes(32)),
        ("chip-1", "chip", "sha384", b"x", bytes(48)),
        ("chip-1", "chip", "sha256", b"", bytes(32)),
        ("chip-1", "chip", "sha256", bytes(20_000), bytes(32)),
        ("../1", "chip", "sha256", b"x", bytes(32)),
        ("chip-1", "chip", "sha256"),
    ):
        assert line.ask(Operation.CHECK_CHIP_MAC, *question)[0] is REFUSED, question


BODIES: dict[str, bytes] = {
    "no CBOR": b"\xff",
    "nothing": b"",
    "a text": cbor2.dumps("hello"),
    "a tag": cbor2.dumps([1, "sign_crl", datetime.now(UTC)]),
    "a fraction": b"\x83\x01\x61a\xd8\x1e\x82\x01\x00",
    "a float": cbor2.dumps([1, "sign_crl", 1.5]),
    "a big float": b"\x83\x01\x61a\xc5\x82\x1a\x7f\xff\xff\xff\x01",
    "a shared value": b"\x83\x01\x61a\xd8\x1c\x81\xd8\x1d\x00",
    "no end": b"\x9f\x01\x61a\xff",
    "a key twice": b"\x83\x01\x61a\xa2\x61x\x01\x61x\x02",
    "deep": b"\x81" * 400 + b"\x01",
    "many": b"\x9a\x00\xff\xff\xff" + b"\x80" * 10**6,
    "a promise": b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
    "bytes without end": b"\x83\x01\x61a\x5b\xff\xff\xff\xff\xff\xff\xff\xff",
    "no UTF-8": b"\x82\x01\x62\xff\xfe",
    "a number that is none": cbor2.dumps([True, "sign_crl"]),
    "a huge number": cbor2.dumps([2**200, "sign_crl"]),
    "a large negative number": cbor2.dumps([1, "session_key", -(10**30), 0]),
    "a negative number": cbor2.dumps([-1, "sign_crl"]),
    "no operation": cbor2.dumps([1]),
    "an operation of bytes": cbor2.dumps([1, b"sign_crl"]),
    "two items": cbor2.dumps([1, "a"]) * 2,
    "null": b"\xf6",
}


def until_the_end(factory: HeldFactory, *frames: bytes) -> list[object]:
    """What the service answers until it ends the line; the peer does not end it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(60.0)
        peer.connect(str(factory.service_socket))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            peer.sendall(b"".join(frames))
        found = b""
        with contextlib.suppress(ConnectionResetError):
            while data := peer.recv(65_536):
                found += data
    return FrameReader().feed(found)


def ended_by(factory: HeldFactory, data: bytes) -> bool:
    """Whether the service ends a line that it served, and answers nothing."""
    with Line(factory.service_socket, factory.issuer) as peer:
        assert peer.greeting == (Outcome.DONE, "ready")
        peer.send_bytes(data)
        with pytest.raises(ConnectionError):
            peer.read()
    return True


def framed_request(numbered: tuple[int, tuple[Any, ...]]) -> bytes:
    number, request = numbered
    return frame([number, *request])


def framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def test_frames_of_any_look(factory: HeldFactory, line: Line) -> None:
    for what, body in BODIES.items():
        assert until_the_end(factory, framed(body)) == [], what
        assert ended_by(factory, framed(body)), what
    for head in (b"\xff\xff\xff\xff", struct.pack(">I", MAX_FRAME + 1)):
        assert until_the_end(factory, head) == []
        assert ended_by(factory, head)
    for other in (
        {"form": 2, "issuer": factory.issuer},
        {"form": 1},
        {"form": 1, "issuer": b"", "pin": b"1"},
    ):
        assert until_the_end(factory, frame(other)) == []
    assert line.ask("nothing")[0] is REFUSED
    assert "Traceback" not in factory.service.errors()


def test_more_bytes_than_there_is_room_for(factory: HeldFactory, line: Line) -> None:
    """Frames that are begun and never ended, and answers that nobody reads."""
    service = psutil.Process(factory.service.pid)
    with contextlib.ExitStack() as peers:
        begun = [peers.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) for _ in range(12)]
        for peer in begun:
            peer.connect(str(factory.service_socket))
            with contextlib.suppress(OSError):  # there was no room: the line was ended
                peer.sendall(hello_frame(factory.issuer) + struct.pack(">I", MAX_FRAME))
                peer.sendall(bytes(MAX_FRAME - 1))
        assert service.memory_info().rss < MOST_MEMORY
    with Line(factory.service_socket, factory.issuer) as silent:
        silent.limit(2.0)
        with pytest.raises(TimeoutError):  # the service reads no more, since its answers are not taken
            silent.send_bytes(frame([1, "x" * 2_000]) * 10_000)
    assert line.ask("nothing")[0] is REFUSED
    assert service.memory_info().rss < MOST_MEMORY


def test_connections_that_say_nothing(factory: HeldFactory, line: Line) -> None:
    with contextlib.ExitStack() as peers:
        for _ in range(400):
            peer = peers.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            with contextlib.suppress(BlockingIOError):
                peer.settimeout(1.0)
                peer.connect(str(factory.service_socket))
        assert line.ask("nothing")[0] is REFUSED

    def served() -> bool:
        with contextlib.suppress(OSError), Line(factory.service_socket, factory.issuer) as other:
            return other.greeting == (Outcome.DONE, "ready")
        return False

    wait_until(served, "a line once the others are gone", program=factory.service)


def test_what_is_logged_is_bounded(factory: HeldFactory, line: Line) -> None:
    before = len(factory.service.errors())
    for _ in range(3):
        all_of(line, [("y" * 3_000, "z")] * 1_000)
    for _ in range(300):
        until_the_end(factory, framed(b"\xff"))
    assert len(factory.service.errors()) - before < MOST_LOGGED
    assert "y" * 100 not in factory.service.errors()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_another_user(factory: HeldFactory) -> None:
    """The socket is everybody's to connect to; who it is decides the kernel."""
    asking = (
        "import socket, sys; line = socket.socket(socket.AF_UNIX); line.connect(sys.argv[1]);"
        "line.settimeout(30); print(line.recv(10) == b'')"
    )
    # The test's own directory is ours alone.
    enters = ("--inh-caps", "+dac_override", "--ambient-caps", "+dac_override")
    command = ["setpriv", "--reuid", "65534", "--clear-groups", *enters, sys.executable, "-c", asking]
    assert run([*command, factory.service_socket]).strip() == "True"


def test_its_files_are_its_users_alone(factory: HeldFactory) -> None:
    for directory in (factory.settings.parent, factory.notes.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        for file in directory.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


def test_a_crash_at_each_write_gives_no_place_twice(factory: HeldFactory, forger: Forger) -> None:
    """What was noted may be signed again, the same bytes; nothing is signed that was not noted."""
    dying = (*COMMAND, factory.installation.directory / "point")
    order, later = forger.order("WO-CRASH", quantity=3), forger.order("WO-CRASHED")
    text = forger.statement(later).text()
    approval = (text, *forger.sign(text))
    restart(factory, *dying)
    with Line(factory.service_socket, factory.issuer) as line:
        forger.approve(line, order)
    for number, (point, noted) in enumerate((("commit 1", 0), ("before sign", 1), ("after sign", 1)), 1):
        tbs, leaf = forger.leaf(order, number)
        dies_at(point, factory, dying, SIGN, tbs, leaf)
        assert places(factory, "WO-CRASH") == number - 1 + noted
        with Line(factory.service_socket, factory.issuer) as line:
            assert line.ask(SIGN, tbs, leaf)[0] is Outcome.DONE
            refused(line, *forger.leaf(order, number))
        assert places(factory, "WO-CRASH") == number
    dies_at("commit 1", factory, (), Operation.SHOW_APPROVAL, *approval)
    with Line(factory.service_socket, factory.issuer) as line:
        refused(line, *forger.leaf(later, 1))
        assert line.ask(Operation.SHOW_APPROVAL, *approval) == (Outcome.DONE, True)
        assert line.ask(SIGN, *forger.leaf(later, 1))[0] is Outcome.DONE


def dies_at(point: str, factory: HeldFactory, then: tuple[str | Path, ...], *asked: Any) -> None:
    """The service ends at this point of what is asked, and is started again."""
    control = factory.installation.directory / "point"
    with Line(factory.service_socket, factory.issuer) as line:
        control.write_text(point, "ascii")
        with pytest.raises(ConnectionError):
            line.ask(*asked)
    factory.service.wait()
    control.unlink()
    factory.start_service(*then)


def restart(factory: HeldFactory, *dying: str | Path) -> None:
    """The service, as after a crash of it."""
    factory.service.kill()
    factory.service.wait()
    factory.start_service(*dying)


def test_what_cannot_be_noted_is_not_signed(factory: HeldFactory, forger: Forger, line: Line) -> None:
    """The disk of its notes is full; afterwards it goes on by itself."""
    order = forger.order("WO-FULL-DISK")
    forger.approve(line, order)
    tbs, leaf = forger.leaf(order, 1)
    service, (_, hard) = factory.service.pid, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.prlimit(service, resource.RLIMIT_FSIZE, (0, hard))
    try:
        assert line.ask(SIGN, tbs, leaf)[0] is Outcome.UNAVAILABLE
    finally:
        resource.prlimit(service, resource.RLIMIT_FSIZE, (hard, hard))
    assert places(factory, "WO-FULL-DISK") == 0
    assert line.ask(SIGN, tbs, leaf)[0] is Outcome.DONE
    assert places(factory, "WO-FULL-DISK") == 1


def test_the_service_is_away_while_boards_are_made(factory: HeldFactory) -> None:
    boards = factory.new_run(boards=3, **LINE)
    agent = boards.start_agent()
    step_begun(agent, "keygen")
    restart(factory)
    if agent.wait() != 0:  # it gave up on a board meanwhile: the operator starts it again
        assert boards.start_agent().wait() == 0
    factory.finished_once(boards)


def test_an_older_state_of_signerd(factory: HeldFactory) -> None:
    """Its user puts back database, head and log of before, and starts it again."""
    installation = factory.installation
    installation.process.stop()
    kept, newer = installation.directory / "kept", installation.directory / "newer"
    shutil.copytree(installation.home, kept)
    size = known(factory)["checkpoint"]
    installation.start_signerd()
    assert factory.new_run(boards=1).start_agent().wait() == 0
    assert known(factory)["checkpoint"] > size
    installation.process.kill()
    installation.process.wait()
    installation.home.rename(newer)
    kept.rename(installation.home)
    newest = last_checkpoint(factory)
    try:
        with contextlib.suppress(ProgramError):  # it may not even start
            installation.start_signerd()
            installation.add_station("plant1", "fork")  # an entry, for which a checkpoint is asked
    finally:
        if installation.process.running():
            installation.process.kill()
            installation.process.wait()
        installation.home.rename(kept)
        newer.rename(installation.home)
    assert last_checkpoint(factory) == newest
    wait_until(lambda: "the log was put back" in factory.service.errors(), "the refusal in the log")
    installation.start_signerd()
    assert factory.verify()


def last_checkpoint(factory: HeldFactory) -> tuple[int, bytes]:
    with contextlib.closing(sqlite3.connect(factory.notes)) as notes:
        found: tuple[int, bytes] = notes.execute("SELECT size, root FROM checkpoints").fetchone()
    return found


def serves(factory: HeldFactory) -> bool:
    """Whether signerd says that it does."""
    with grpc.secure_channel(factory.installation.target, factory.station.credentials()) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            asked = stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
        except grpc.RpcError:
            return False
    return bool(asked.status == health_pb2.HealthCheckResponse.SERVING)


def test_without_its_token_nothing_is_signed(factory: HeldFactory, forger: Forger) -> None:
    tokens, away = factory.installation.home / "softhsm", factory.installation.home / "pulled"
    with Line(factory.service_socket, factory.issuer) as line:
        order = forger.order("WO-PULLED")
        forger.approve(line, order)
        tbs, leaf = forger.leaf(order, 1)
        tokens.rename(away)
        try:
            children = factory.service.children()
            for child in children:
                child.kill()
            psutil.wait_procs(children, timeout=30)
            wait_until(lambda: ends(line, tbs, leaf), "the line to end")
            with Line(factory.service_socket, factory.issuer) as later:
                assert later.greeting is not None
                assert later.greeting[0] is Outcome.FAILED
            wait_until(lambda: not serves(factory), "signerd to say that it does not serve")
        finally:
            away.rename(tokens)
    wait_until(lambda: serves(factory), "signerd to serve again", timeout_s=60.0)
    # It was noted before the token was asked: the same bytes, and no others for the place.
    with Line(factory.service_socket, factory.issuer) as line:
        assert line.ask(SIGN, tbs, leaf)[0] is Outcome.DONE


def ends(line: Line, tbs: bytes, leaf: object) -> bool:
    """Whether the service has ended the line; until then it signs nothing."""
    try:
        assert line.ask(SIGN, tbs, leaf)[0] is Outcome.UNAVAILABLE
    except ConnectionError:
        return True
    return False
