"""Method `tpm2` over evidence that a TPM made: swtpm, which runs the reference implementation's code."""

from __future__ import annotations

import hashlib
import shutil
import tomllib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import cbor2
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from boards import formats, keys
from boards.attesters import csr_attestation
from boards.attesters.csr_attestation import SEQUENCE, der
from boards.attesters.tpm2 import Tpm2Vendor
from harness.installation import product_toml
from harness.issuance_world import IssuanceWorld, issuance_world
from harness.process import ProgramError
from harness.software_tpm import BORN_HERE, SoftwareTpm, TpmKey
from signerd.core.csr import VerifiedCsr, check_csr
from signerd.core.evidence import METHODS
from signerd.core.evidence.method import (
    EvidenceError,
    EvidenceSubmission,
    IdentityKey,
    Trust,
    VerifiedEvidence,
)
from signerd.core.evidence.rules import EvidenceRules
from signerd.core.evidence.transcript import verify_evidence
from signerd.core.identity_list import ChipIdentity
from signerd.core.names import KeyType, Level, MacQuestion
from signerd.errors import Code, Refused

CHIP = "TPM-0001"
CHALLENGE = bytes(range(32))
FIRMWARE = {"app": ("1.2.0", hashlib.sha256(b"app").digest())}
LOCKS = {"secure_boot": True}
CLAIMS = formats.claims(FIRMWARE, LOCKS)
VENDOR = Tpm2Vendor()
CERTIFIED = EvidenceRules.model_validate(
    {"methods": ["tpm2"], **tomllib.loads(VENDOR.product_section())["evidence"]}
)
IMPORTED = EvidenceRules.model_validate({"methods": ["tpm2"]})


@pytest.fixture
def tpm() -> Iterator[SoftwareTpm]:
    with SoftwareTpm() as running:
        yield running


@pytest.fixture(scope="module")
def outside_key() -> bytes:
    """A private key that its owner has in a file."""
    return keys.make_key("p256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def qualification(csr: bytes, challenge: bytes = CHALLENGE) -> bytes:
    return hashlib.sha256(formats.transcript(challenge, CHIP, csr, FIRMWARE, LOCKS)).digest()


async def no_mac(question: MacQuestion) -> bool:
    raise AssertionError(f"a TPM's evidence rests on no MAC: {question}")


def pack(key: TpmKey, ak: TpmKey, attest: bytes, signature: bytes) -> bytes:
    """Evidence bytes, with the chain of a genuine AK."""
    chain = list(VENDOR.certify(CHIP, ak.spki))
    return cbor2.dumps([attest, signature, key.public, chain], canonical=True)


async def verify(csr: bytes, evidence: bytes, identity: IdentityKey | None = None) -> VerifiedEvidence:
    """As signerd would, with the AK certified, or imported where there is an identity."""
    trust = Trust(
        personalized=False,
        locked=False,
        listed=False,
        identity=identity,
        rules=IMPORTED if identity else CERTIFIED,
    )
    checked: VerifiedCsr = check_csr(csr, accepted=tuple(KeyType))
    return await verify_evidence(
        EvidenceSubmission("tpm2", CLAIMS, evidence),
        methods=METHODS,
        challenge=CHALLENGE,
        chip_id=CHIP,
        csr=checked,
        trust=trust,
        now=datetime.now(UTC),
        check_mac=no_mac,
    )


async def genuine(tpm: SoftwareTpm, ak: TpmKey, key: TpmKey) -> VerifiedEvidence:
    csr = tpm.csr(key)
    return await verify(csr, pack(key, ak, *tpm.certify(key, ak, qualification(csr))))


async def refused(tpm: SoftwareTpm, ak: TpmKey, key: TpmKey, match: str) -> None:
    """All is as it should be, but for the key or the AK."""
    with pytest.raises(EvidenceError, match=match):
        await genuine(tpm, ak, key)


@pytest.mark.parametrize("algorithm", ["ecc256", "ecc384", "rsa2048"])
async def test_a_key_that_was_born_in_the_tpm(tpm: SoftwareTpm, algorithm: str) -> None:
    ak = tpm.attestation_key()
    for key in (tpm.signing_key(algorithm), tpm.primary_key(algorithm)):
        evidence = await genuine(tpm, ak, key)
        assert evidence.level is Level.KEY
        assert evidence.measured == {}
        assert evidence.attester == ak.spki


@pytest.mark.parametrize(
    ("algorithm", "hash_name", "scheme"),
    [
        ("ecc", "sha256", "ecdsa"),
        ("ecc384", "sha384", "ecdsa"),
        ("rsa", "sha256", "rsassa"),
        ("rsa", "sha256", "rsapss"),
    ],
)
async def test_attestation_keys_of_each_kind(
    tpm: SoftwareTpm, algorithm: str, hash_name: str, scheme: str
) -> None:
    ak = tpm.attestation_key(algorithm, hash_name=hash_name, scheme=scheme)
    assert (await genuine(tpm, ak, tpm.signing_key())).attester == ak.spki


async def test_an_imported_attestation_key(tpm: SoftwareTpm) -> None:
    ak, key = tpm.attestation_key(), tpm.signing_key()
    csr = tpm.csr(key)
    attest, signature = tpm.certify(key, ak, qualification(csr))
    evidence = cbor2.dumps([attest, signature, key.public, []], canonical=True)
    identity = IdentityKey(ak.name, ak.spki)
    assert (await verify(csr, evidence, identity)).level is Level.KEY
    with SoftwareTpm() as other, pytest.raises(EvidenceError, match="did not sign"):
        await verify(csr, evidence, IdentityKey(ak.name, other.attestation_key().spki))


async def test_every_changed_byte_of_what_the_tpm_said(tpm: SoftwareTpm) -> None:
    ak, key = tpm.attestation_key(), tpm.signing_key()
    csr = tpm.csr(key)
    attest, signature = tpm.certify(key, ak, qualification(csr))
    evidence = cbor2.dumps([attest, signature, key.public, []], canonical=True)
    identity = IdentityKey(ak.name, ak.spki)
    await verify(csr, evidence, identity)
    for position in range(len(evidence)):
        changed = bytearray(evidence)
        changed[position] ^= 1
        with pytest.raises(EvidenceError):
            await verify(csr, bytes(changed), identity)


async def test_evidence_inside_the_csr(tpm: SoftwareTpm) -> None:
    ak, key = tpm.attestation_key(), tpm.signing_key()
    parts = csr_attestation.Parts.of(tpm.csr(key))
    attest, signature = tpm.certify(key, ak, qualification(parts.info()))
    bundle = csr_attestation.tpm_bundle(pack(key, ak, attest, signature))
    info = parts.info(csr_attestation.attribute(bundle))
    bits = der(0x03, b"\x00", tpm.sign(key, info))
    evidence = await verify(der(SEQUENCE, info, parts.algorithm, bits), b"")
    assert (evidence.level, evidence.attester) == (Level.KEY, ak.spki)


# Keys that were not born there.


def private_key(pem: bytes) -> keys.PrivateKey:
    key = load_pem_private_key(pem, None)
    assert isinstance(key, keys.PrivateKey)
    return key


async def test_an_imported_key_says_so(tpm: SoftwareTpm, outside_key: bytes) -> None:
    ak = tpm.attestation_key()
    await refused(tpm, ak, tpm.imported_key(outside_key), "lacks")


async def test_an_imported_key_that_claims_its_origin(tpm: SoftwareTpm, outside_key: bytes) -> None:
    # TPM2_Import takes sensitiveDataOrigin as it is given: it means something beside fixedTPM alone
    # (Part 2, 8.3.3.5), and that the TPM refuses.
    ak = tpm.attestation_key()
    claimed = "sensitivedataorigin|userwithauth|sign"
    await refused(tpm, ak, tpm.imported_key(outside_key, attributes=claimed), "FIXED_TPM")
    with pytest.raises(ProgramError, match="inconsistent attributes"):
        tpm.imported_key(outside_key, attributes=BORN_HERE)


async def test_a_key_that_was_loaded_from_outside(tpm: SoftwareTpm, outside_key: bytes) -> None:
    ak = tpm.attestation_key()
    private = tpm.file(outside_key)
    key = tpm.external_key("-G", "ecc", "-r", private, "-a", "sensitivedataorigin|userwithauth|sign")
    csr = keys.make_csr(private_key(outside_key), CHIP)
    attest, signature = tpm.certify(key, ak, qualification(csr))
    with pytest.raises(EvidenceError, match="FIXED_TPM"):
        await verify(csr, pack(key, ak, attest, signature))


async def test_a_public_area_alone_is_not_certified(tpm: SoftwareTpm) -> None:
    # Any attributes may be claimed for a key of which only the public area is loaded (Part 2, 8.3.3.2).
    ak, key = tpm.attestation_key(), tpm.signing_key()
    structure = tpm.file(len(key.public).to_bytes(2, "big") + key.public)
    shell = tpm.external_key("-u", structure)
    assert shell == replace(key, handle=shell.handle)
    with pytest.raises(ProgramError, match="0x12f"):  # TPM_RC_AUTH_UNAVAILABLE
        tpm.certify(shell, ak, bytes(32))
    assert tpm.certify(key, ak, bytes(32))


async def test_a_key_that_may_leave(tpm: SoftwareTpm) -> None:
    ak = tpm.attestation_key()
    without_both = BORN_HERE.replace("fixedtpm|fixedparent|", "")
    await refused(tpm, ak, tpm.signing_key(attributes=without_both), "FIXED_TPM")
    # Fixed to a parent that itself may be moved into another TPM.
    child = tpm.signing_key(attributes=BORN_HERE.replace("fixedtpm|", ""), parent=tpm.movable_parent())
    await refused(tpm, ak, child, "FIXED_TPM")


async def test_a_derived_key(tpm: SoftwareTpm) -> None:
    # Whoever knows a seed that came from outside has the key as well. From a seed that the TPM made, the key
    # is as good as born there, but the TPM does not say so.
    ak = tpm.attestation_key()
    for seed, missing in (
        (bytes(32), "FIXED_TPM.SENSITIVE_DATA_ORIGIN"),
        (None, "lacks SENSITIVE_DATA_ORIGIN"),
    ):
        await refused(tpm, ak, tpm.derived_key(seed), missing)
        tpm.forget()


async def test_a_restricted_key(tpm: SoftwareTpm) -> None:
    # It can sign a CSR: the TPM digests it and sees that it does not begin as an attest does.
    key = tpm.signing_key("ecc256:ecdsa-sha256:null", attributes=f"{BORN_HERE}|restricted")
    await refused(tpm, tpm.attestation_key(), key, "RESTRICTED")


async def test_an_attestation_key_that_is_certified_by_itself(tpm: SoftwareTpm) -> None:
    ak = tpm.attestation_key()
    await refused(tpm, ak, ak, "RESTRICTED")


async def test_a_key_that_also_decrypts(tpm: SoftwareTpm) -> None:
    key = tpm.signing_key("rsa2048", attributes=f"{BORN_HERE}|decrypt")
    await refused(tpm, tpm.attestation_key(), key, "DECRYPT")


async def test_a_key_without_user_with_auth(tpm: SoftwareTpm) -> None:
    ak, key = tpm.attestation_key(), tpm.signing_key(attributes=BORN_HERE.replace("userwithauth|", ""))
    # Only a policy could sign with it, so the CSR is another key's.
    csr = tpm.csr(tpm.signing_key())
    with pytest.raises(EvidenceError, match="USER_WITH_AUTH"):
        await verify(csr, pack(key, ak, *tpm.certify(key, ak, qualification(csr))))


# Attests that are not TPM2_Certify of this key, over this request, by this AK.


async def test_an_attest_with_sha1(tpm: SoftwareTpm) -> None:
    await refused(
        tpm, tpm.attestation_key(hash_name="sha1"), tpm.signing_key(), "TPMT_SIGNATURE names the hash 0x0004"
    )


async def test_another_qualification(tpm: SoftwareTpm) -> None:
    ak, key = tpm.attestation_key(), tpm.signing_key()
    csr = tpm.csr(key)
    right = qualification(csr)
    assert await verify(csr, pack(key, ak, *tpm.certify(key, ak, right)))
    for wrong in (
        qualification(csr, bytes(32)),
        qualification(tpm.csr(key)),
        right[:31],
        right + b"\x00",
        b"",
    ):
        with pytest.raises(EvidenceError, match="extraData"):
            await verify(csr, pack(key, ak, *tpm.certify(key, ak, wrong)))


async def test_another_key_of_the_same_tpm(tpm: SoftwareTpm) -> None:
    ak, key, other = tpm.attestation_key(), tpm.signing_key(), tpm.signing_key()
    csr = tpm.csr(key)
    attest, signature = tpm.certify(other, ak, qualification(csr))
    with pytest.raises(EvidenceError, match="not the CSR's"):
        await verify(csr, pack(other, ak, attest, signature))
    with pytest.raises(EvidenceError, match="name"):
        await verify(csr, pack(key, ak, attest, signature))


async def test_the_attestation_key_of_another_tpm(tpm: SoftwareTpm) -> None:
    ak, key = tpm.attestation_key(), tpm.signing_key()
    csr = tpm.csr(key)
    with SoftwareTpm() as other:
        other_ak = other.attestation_key()
        # A key of its own, for the first TPM's CSR: the name is another.
        other_key = other.signing_key()
        attest, signature = other.certify(other_key, other_ak, qualification(csr))
        with pytest.raises(EvidenceError, match="name"):
            await verify(csr, pack(key, other_ak, attest, signature))
        # The right name, signed by an AK that is not the certified one.
        assert other_ak.spki != ak.spki
        attest, signature = tpm.certify(key, ak, qualification(csr))
        with pytest.raises(EvidenceError, match="did not sign"):
            await verify(csr, pack(key, other_ak, attest, signature))


async def test_other_things_that_the_attestation_key_signs(tpm: SoftwareTpm) -> None:
    ak, key = tpm.attestation_key(), tpm.signing_key()
    csr = tpm.csr(key)
    for attest, signature in (
        tpm.quote(ak, qualification(csr)),
        tpm.time(ak, qualification(csr)),
        tpm.nv_contents(ak, qualification(csr), b"written by the station"),
    ):
        with pytest.raises(EvidenceError, match="not of TPM2_Certify"):
            await verify(csr, pack(key, ak, attest, signature))
    created = tpm.creation_key()
    csr = tpm.csr(created.key)
    attest, signature = tpm.creation(created, ak, qualification(csr))
    with pytest.raises(EvidenceError, match="not of TPM2_Certify"):
        await verify(csr, pack(created.key, ak, attest, signature))
    assert await verify(csr, pack(created.key, ak, *tpm.certify(created.key, ak, qualification(csr))))


async def test_a_restricted_key_signs_no_forgery_and_an_unrestricted_one_does(
    tpm: SoftwareTpm, outside_key: bytes
) -> None:
    """Why whoever certifies or imports an AK vouches that it is restricted (docs/evidence.md)."""
    ak = tpm.attestation_key()
    outside = keys.public_der(private_key(outside_key))
    forger = VENDOR.attester("forger")
    csr = keys.make_csr(private_key(outside_key), CHIP)
    attest, _, public, _ = cbor2.loads(
        forger.attest(formats.transcript(CHALLENGE, CHIP, csr, FIRMWARE, LOCKS), csr)
    )
    with pytest.raises(ProgramError):
        tpm.sign(ak, attest, form="tss")
    unrestricted = tpm.signing_key()
    forged = TpmKey(0, public, b"", outside)
    proved = await verify(csr, pack(forged, unrestricted, attest, tpm.sign(unrestricted, attest, form="tss")))
    assert proved.level is Level.KEY


def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _program: None)
    with pytest.raises(ProgramError, match="install the package swtpm"), SoftwareTpm():
        pass


# Through issuance: OpenSession, SignCsr, the record and what it says.


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[IssuanceWorld]:
    async with issuance_world(tmp_path) as running:
        yield running


async def open_order(world: IssuanceWorld, name: str, section: str) -> str:
    product = product_toml(name, methods=("tpm2",), sections=[section])
    await world.store.add_product(name, product, world.now)
    digest = hashlib.sha256(product.encode()).digest()
    return await world.open_order(product=name, product_sha256=digest, level=Level.KEY)


async def test_a_certificate_for_a_key_of_a_tpm(world: IssuanceWorld, tpm: SoftwareTpm) -> None:
    order = await open_order(world, "gateway", VENDOR.product_section())
    ak, key = tpm.attestation_key(), tpm.signing_key()
    session = await world.issuance.open_session(world.pc1, order, CHIP)
    csr = tpm.csr(key)
    attest, signature = tpm.certify(key, ak, qualification(csr, session.challenge))
    submission = EvidenceSubmission("tpm2", CLAIMS, pack(key, ak, attest, signature))
    answer = await world.issuance.sign_csr(world.pc1, session.session, csr, submission)
    record = answer.record
    assert (record.level, record.method, record.attester) == (Level.KEY, "tpm2", ak.spki)
    assert record.evidence == submission.evidence

    # The same evidence in a session of its own is stale.
    session = await world.issuance.open_session(world.pc1, order, CHIP)
    with pytest.raises(Refused) as caught:
        await world.issuance.sign_csr(world.pc1, session.session, csr, submission)
    assert caught.value.code is Code.EVIDENCE_REJECTED


async def test_a_certificate_by_an_imported_attestation_key(world: IssuanceWorld, tpm: SoftwareTpm) -> None:
    order = await open_order(world, "gateway", "")
    ak, key = tpm.attestation_key(), tpm.signing_key()
    with pytest.raises(Refused) as caught:
        await world.issuance.open_session(world.pc1, order, CHIP)
    assert caught.value.code is Code.CHIP_UNKNOWN
    await world.store.import_identities(
        "gateway", "tpm2", [ChipIdentity(CHIP, ak.name, ak.spki, ak.public)], by="ann", now=world.now
    )
    session = await world.issuance.open_session(world.pc1, order, CHIP)
    csr = tpm.csr(key)
    attest, signature = tpm.certify(key, ak, qualification(csr, session.challenge))
    evidence = cbor2.dumps([attest, signature, key.public, []], canonical=True)
    answer = await world.issuance.sign_csr(
        world.pc1, session.session, csr, EvidenceSubmission("tpm2", CLAIMS, evidence)
    )
    assert (answer.record.level, answer.record.attester) == (Level.KEY, ak.spki)
