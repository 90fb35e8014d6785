"""What every `signerd.ports.KeyHolder` keeps: the process on SoftHSM, a pool of them, and the tests' fake."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from harness.key_holders import TokenAtHand, running
from harness.signing_samples import checkpoint, crl_tbs, leaf_tbs
from harness.software_key_holder import SoftwareKeyHolder, make_device_tree
from signerd.adapters.keyholder.channel import KeyHolderRefusal
from signerd.adapters.keyholder.personalization import derive_chip_keys
from signerd.adapters.keyholder.pool import KeyHolderPool
from signerd.core.names import MacKey, MacQuestion
from signerd.core.note import VerifierKey
from signerd.errors import Code
from signerd.ports import KeyHolder

CHIP = "chip-1"


@dataclass(frozen=True, slots=True)
class Subject:
    """A key holder, and what belongs to its keys."""

    holder: KeyHolder
    sub_ca: x509.Certificate
    log: VerifierKey
    chip_key: bytes

    def demand_signature(self, signature: bytes, message: bytes) -> None:
        """Raises InvalidSignature."""
        key = self.sub_ca.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))

    def demand_checkpoint_signature(self, signature: bytes, body: bytes) -> None:
        """Raises InvalidSignature."""
        Ed25519PublicKey.from_public_bytes(self.log.public_key).verify(signature, body)

    def mac(self, message: bytes) -> bytes:
        """As the chip would make it."""
        return hmac.digest(self.chip_key, message, hashlib.sha256)


def question(chip_id: str, message: bytes, mac: bytes) -> MacQuestion:
    return MacQuestion(chip_id, MacKey.CHIP, "sha256", message, mac)


@pytest.fixture(params=["process", "pool", "software"])
async def subject(request: pytest.FixtureRequest, token: TokenAtHand) -> AsyncIterator[Subject]:
    if request.param == "software":
        tree = make_device_tree()
        holder = SoftwareKeyHolder(tree.sub_ca, tree.sub_ca_key)
        yield Subject(holder, tree.sub_ca, holder.log, holder.chip_key(CHIP))
        return
    chip_keys = await derive_chip_keys(token.config.hsm, token.pin, [CHIP])
    if request.param == "process":
        async with running(token.settings, token.pin) as process:
            yield Subject(process, token.sub_ca, token.log, chip_keys[CHIP])
        return
    pool = KeyHolderPool(token.settings, 2, on_change=lambda: None)
    await pool.start(token.pin)
    yield Subject(pool, token.sub_ca, token.log, chip_keys[CHIP])
    await pool.stop()


async def test_signs_a_leaf(subject: Subject) -> None:
    tbs = leaf_tbs(subject.sub_ca)
    signature = await subject.holder.sign_certificate(tbs)
    subject.demand_signature(signature, tbs)
    with pytest.raises(InvalidSignature):
        subject.demand_signature(signature, tbs + b"\x00")


async def test_signs_a_crl(subject: Subject) -> None:
    tbs = crl_tbs(subject.sub_ca)
    subject.demand_signature(await subject.holder.sign_crl(tbs), tbs)


async def test_signs_checkpoints_that_contradict_none_before(subject: Subject) -> None:
    body = checkpoint(subject.log.name, 5)
    signature = await subject.holder.sign_checkpoint(body)
    assert len(signature) == 64
    subject.demand_checkpoint_signature(signature, body)
    assert await subject.holder.sign_checkpoint(body) == signature
    for other in (checkpoint(subject.log.name, 4), checkpoint(subject.log.name, 5, root=b"\x02" * 32)):
        with pytest.raises(KeyHolderRefusal):
            await subject.holder.sign_checkpoint(other)
    await subject.holder.sign_checkpoint(checkpoint(subject.log.name, 6))


async def test_checks_a_chips_mac(subject: Subject) -> None:
    mac = subject.mac(b"transcript")
    changed = bytes([mac[0] ^ 1]) + mac[1:]
    assert await subject.holder.check_chip_mac(question(CHIP, b"transcript", mac)) is True
    assert await subject.holder.check_chip_mac(question("chip-2", b"transcript", mac)) is False
    assert await subject.holder.check_chip_mac(question(CHIP, b"transcript!", mac)) is False
    assert await subject.holder.check_chip_mac(question(CHIP, b"transcript", changed)) is False
    assert await subject.holder.check_chip_mac(question(CHIP, b"transcript", mac[:31])) is False
    assert await subject.holder.check_chip_mac(question(CHIP, b"transcript", b"")) is False


async def test_refuses_another_issuers_leaf_and_a_ca(subject: Subject) -> None:
    other = make_device_tree(deployment="other")
    with pytest.raises(KeyHolderRefusal, match="another issuer") as refusal:
        await subject.holder.sign_certificate(leaf_tbs(other.sub_ca))
    assert refusal.value.code is Code.INTERNAL
    ca = x509.BasicConstraints(ca=True, path_length=None)
    with pytest.raises(KeyHolderRefusal, match="not a leaf"):
        await subject.holder.sign_certificate(leaf_tbs(subject.sub_ca, extensions={ca.oid: (ca, True)}))
    tbs = leaf_tbs(subject.sub_ca)
    subject.demand_signature(await subject.holder.sign_certificate(tbs), tbs)


async def test_one_kind_is_not_signed_as_another(subject: Subject) -> None:
    with pytest.raises(KeyHolderRefusal):
        await subject.holder.sign_certificate(crl_tbs(subject.sub_ca))
    with pytest.raises(KeyHolderRefusal):
        await subject.holder.sign_crl(leaf_tbs(subject.sub_ca))
    with pytest.raises(KeyHolderRefusal):
        await subject.holder.sign_checkpoint(leaf_tbs(subject.sub_ca))


async def test_refuses_a_mac_out_of_bounds(subject: Subject) -> None:
    mac = subject.mac(b"transcript")
    for chip_id, message in (("", b"m"), ("a b", b"m"), (CHIP, b""), (CHIP, b"x" * 20_000)):
        with pytest.raises(KeyHolderRefusal):
            await subject.holder.check_chip_mac(question(chip_id, message, mac))


async def test_many_at_once_each_get_their_own_answer(subject: Subject) -> None:
    messages = [leaf_tbs(subject.sub_ca) for _ in range(40)]
    macs = [b"message %d" % number for number in range(40)]
    signatures, checks, refusals = await asyncio.gather(
        asyncio.gather(*(subject.holder.sign_certificate(tbs) for tbs in messages)),
        asyncio.gather(
            *(subject.holder.check_chip_mac(question(CHIP, text, subject.mac(text))) for text in macs)
        ),
        asyncio.gather(*(subject.holder.sign_crl(tbs) for tbs in messages), return_exceptions=True),
    )
    for tbs, signature in zip(messages, signatures, strict=True):
        subject.demand_signature(signature, tbs)
    assert checks == [True] * 40
    assert all(isinstance(refusal, KeyHolderRefusal) for refusal in refusals)
