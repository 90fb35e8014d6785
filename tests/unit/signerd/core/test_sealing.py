"""Secrets sealed to token keys: what opens, and that nothing else does."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import rfc8785
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from harness.rsa_keys import constant_rsa_key
from signerd.core.recipient import PrivateKeyUse, Recipient, SealingError
from signerd.core.sealing import (
    MAX_FILE,
    MAX_RECIPIENTS,
    KeyRole,
    SealedSecrets,
    commitment,
    open_into,
    read_sealed,
    seal,
    with_recipients,
)

ORIGIN = "example/birthmark"
SECRETS = {KeyRole.CHECKPOINT: bytes(range(32)), KeyRole.CHIP_MASTER: bytes(range(32, 64))}
P256, P384, OTHER = (ec.generate_private_key(curve()) for curve in (ec.SECP256R1, ec.SECP384R1, ec.SECP256R1))
RSA, OTHER_RSA = (constant_rsa_key(2048, number) for number in range(2))
SEALED = seal(ORIGIN, SECRETS, [Recipient.of(key.public_key()) for key in (P256, P384, RSA)])


PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def use(key: PrivateKey) -> PrivateKeyUse:
    """As a token does it."""
    if isinstance(key, rsa.RSAPrivateKey):
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        return lambda sent: key.decrypt(sent, oaep)
    return lambda point: key.exchange(
        ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(key.curve, point)
    )


def opened(sealed: SealedSecrets, role: KeyRole, key: PrivateKey) -> bytes:
    into = bytearray(32)
    open_into(sealed, role, Recipient.of(key.public_key()), use(key), memoryview(into))
    return bytes(into)


@pytest.mark.parametrize("key", [P256, P384, RSA])
@pytest.mark.parametrize("role", list(KeyRole))
def test_each_recipient_opens_each_secret(key: ec.EllipticCurvePrivateKey, role: KeyRole) -> None:
    assert opened(read_sealed(SEALED.encode()), role, key) == SECRETS[role]


@pytest.mark.parametrize(("place", "other"), [(0, OTHER), (2, OTHER_RSA)], ids=["EC", "RSA"])
def test_no_other_key_opens(place: int, other: PrivateKey) -> None:
    with pytest.raises(SealingError, match="not sealed to this key"):
        opened(SEALED, KeyRole.CHECKPOINT, other)
    # Nor does it when it gives itself out as a recipient.
    recipient, into = SEALED.recipients[place], memoryview(bytearray(32))
    with pytest.raises(ValueError, match=r"does not open|Decryption failed"):
        open_into(SEALED, KeyRole.CHECKPOINT, recipient, use(other), into)


def test_what_another_token_opened_opens_nothing_here() -> None:
    """The same secret sent to two RSA keys: HKDF binds whose it was."""
    first, second = Recipient.of(RSA.public_key()), Recipient.of(OTHER_RSA.public_key())
    copy = first.seal(b"info", bytes(32))
    shared = use(RSA)(copy[:256])
    with pytest.raises(InvalidTag):
        second.open_into(b"info", copy, lambda _: shared, memoryview(bytearray(32)))
    with pytest.raises(InvalidTag):
        first.open_into(b"infos", copy, lambda _: shared, memoryview(bytearray(32)))
    first.open_into(b"info", copy, lambda _: shared, memoryview(bytearray(32)))


@pytest.mark.parametrize(
    "changed",
    [
        lambda sealed: SealedSecrets("other/log", sealed.recipients, sealed.secrets),
        lambda sealed: SealedSecrets(
            sealed.origin, sealed.recipients, {KeyRole.CHECKPOINT: sealed.secrets[KeyRole.CHIP_MASTER]}
        ),
    ],
    ids=["another origin", "another role"],
)
def test_a_secret_is_not_taken_for_another(changed: Callable[[SealedSecrets], SealedSecrets]) -> None:
    for key in (P256, RSA):
        with pytest.raises(SealingError, match="does not open"):
            opened(changed(SEALED), KeyRole.CHECKPOINT, key)


def test_each_sealing_has_an_ephemeral_key_of_its_own() -> None:
    again = seal(ORIGIN, SECRETS, SEALED.recipients)
    points = [
        copy[:65] for sealed in (SEALED, again) for copies in sealed.secrets.values() for copy in copies
    ]
    assert len(set(points)) == len(points) == 12


def test_recipients_come_and_go_and_the_others_stay_as_they_are() -> None:
    other = Recipient.of(OTHER.public_key())
    more = with_recipients(SEALED, SECRETS, [*SEALED.recipients, other])
    assert opened(read_sealed(more.encode()), KeyRole.CHIP_MASTER, OTHER) == SECRETS[KeyRole.CHIP_MASTER]
    for role, copies in SEALED.secrets.items():
        assert more.secrets[role][:3] == copies
    less = read_sealed(with_recipients(more, SECRETS, [other, SEALED.recipients[1]]).encode())
    assert less.recipients == (other, SEALED.recipients[1])
    for role, secret in SECRETS.items():
        assert opened(less, role, OTHER) == opened(less, role, P384) == secret
        assert less.secrets[role] == (more.secrets[role][3], more.secrets[role][1])
        with pytest.raises(SealingError, match="not sealed to this key"):
            opened(less, role, P256)
    with pytest.raises(SealingError, match="twice"):
        with_recipients(more, SECRETS, [*more.recipients, other])
    with pytest.raises(SealingError, match="1 to 8"):
        with_recipients(more, SECRETS, [])
    with pytest.raises(SealingError, match="all the secrets"):
        with_recipients(SEALED, {KeyRole.CHECKPOINT: bytes(32)}, [other])


def test_who_may_be_a_recipient() -> None:
    for key in (
        rsa.generate_private_key(65537, 1024).public_key(),
        rsa.generate_private_key(3, 2048).public_key(),
        ec.generate_private_key(ec.SECP521R1()).public_key(),
        Ed25519PrivateKey.generate().public_key(),
    ):
        with pytest.raises(SealingError, match=r"P-256 and P-384|2048, 3072 or 4096 bits|exponent"):
            Recipient.of(key)
    assert [Recipient.of(key.public_key()).kind for key in (P256, P384, RSA)] == ["p256", "p384", "rsa2048"]
    many = [
        Recipient.of(ec.generate_private_key(ec.SECP256R1()).public_key()) for _ in range(MAX_RECIPIENTS + 1)
    ]
    assert len(seal(ORIGIN, SECRETS, many[:-1]).encode()) < MAX_FILE
    large = [Recipient.of(constant_rsa_key(4096, number).public_key()) for number in range(MAX_RECIPIENTS)]
    assert len(seal(ORIGIN, SECRETS, large).encode()) < MAX_FILE
    for wrong in (many, []):
        with pytest.raises(SealingError, match="1 to 8"):
            seal(ORIGIN, SECRETS, wrong)


def test_commitments_name_role_origin_and_secret() -> None:
    secret = SECRETS[KeyRole.CHECKPOINT]
    public = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    assert commitment(KeyRole.CHECKPOINT, ORIGIN, secret) == public
    found = commitment(KeyRole.CHIP_MASTER, ORIGIN, secret)
    others = [
        commitment(KeyRole.CHIP_MASTER, "other/log", secret),
        commitment(KeyRole.CHIP_MASTER, ORIGIN, bytes(32)),
        public,
    ]
    assert len(found) == 32
    assert found not in others


def altered(change: Callable[[Any], object]) -> bytes:
    item = json.loads(SEALED.encode())
    change(item)
    return rfc8785.dumps(item) + b"\n"


def spki(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


FOREIGN = "04" + "11" * 64  # not on the curve


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]\n",
        b"[" * 10_000,
        b"{}\n",
        SEALED.encode()[:-1],
        SEALED.encode() + b"\n",
        b" " + SEALED.encode(),
        SEALED.encode() + b" " * MAX_FILE,
        SEALED.encode().replace(b'"p256"', b'"P256"'),
        SEALED.encode().replace(b"birthmark-sealed-v1", b"birthmark-sealed-v2"),
        altered(lambda item: item.update(more=1)),
        altered(lambda item: item.pop("origin")),
        altered(lambda item: item.update(origin="two\nlines")),
        altered(lambda item: item.update(recipients=[])),
        altered(lambda item: item.update(secrets={})),
        altered(lambda item: item.update(secrets={"other": []})),
        altered(lambda item: item["recipients"].reverse()),
        altered(lambda item: item["recipients"].append(item["recipients"][0])),
        altered(lambda item: item["recipients"][0].update(point="00")),
        altered(lambda item: item["recipients"][0].update(point=FOREIGN)),
        altered(lambda item: item["recipients"][0].update(more=1)),
        altered(lambda item: item["recipients"][2].update(rsa="00")),
        altered(lambda item: item["recipients"][2].update(rsa=item["recipients"][2]["rsa"] + "00")),
        altered(lambda item: item["recipients"][2].update(rsa=spki(OTHER).hex())),
        altered(lambda item: item["recipients"][2].update(curve="p256")),
        altered(lambda item: item["secrets"]["checkpoint"].pop()),
        altered(lambda item: item["secrets"].update(checkpoint=[FOREIGN + "00" * 48] * 3)),
        altered(lambda item: item["secrets"].update(checkpoint="00")),
    ],
)
def test_a_file_of_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(SealingError):
        read_sealed(data)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_such_file_are_refused(data: bytes) -> None:
    with pytest.raises(SealingError):
        read_sealed(data)


@given(st.integers(0, len(SEALED.encode()) - 1))
def test_a_file_that_is_cut_is_refused(length: int) -> None:
    with pytest.raises(SealingError):
        read_sealed(SEALED.encode()[:length])


@given(st.integers(0, len(SEALED.encode()) - 1), st.integers(1, 255))
def test_an_altered_byte_opens_nothing_else(place: int, change: int) -> None:
    data = bytearray(SEALED.encode())
    data[place] ^= change
    try:
        sealed = read_sealed(bytes(data))
    except SealingError:
        return
    refused = 0
    for role in KeyRole:
        for key in (P256, P384, RSA):
            try:
                assert opened(sealed, role, key) == SECRETS[role]
            except ValueError:  # of the token too, whose OAEP is RSA's
                refused += 1
    assert refused
