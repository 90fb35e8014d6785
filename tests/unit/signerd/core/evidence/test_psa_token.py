"""PSA tokens: the published ones, those of simulated boards, and each thing that may be wrong with one."""

from __future__ import annotations

import base64
import hmac
import json
import tomllib
import tracemalloc
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from boards import formats, keys
from boards.attesters.psa_token import (
    FIRMWARE,
    IMPLEMENTATION_ID,
    KEYS,
    LIFECYCLES,
    OTHER,
    PSA_2_0_0,
    PSA_IOT_1,
    RFC_9783,
    SIGNER,
    Pairs,
    PsaAttester,
    PsaVendor,
    Raw,
    encode,
)
from signerd.core.anchors import Anchor
from signerd.core.chip_key import derive_chip_key
from signerd.core.csr import check_csr
from signerd.core.evidence.claims import Claims
from signerd.core.evidence.method import (
    MAX_EVIDENCE_BYTES,
    EvidenceError,
    EvidenceSubmission,
    IdentityKey,
    Proved,
    ProvedIfMac,
    Request,
    Trust,
)
from signerd.core.evidence.psa_token import (
    Component,
    PsaClaims,
    PsaToken,
    accepted_firmware,
    read_claims,
    verify_token,
)
from signerd.core.evidence.rules import EvidenceRules, SignedMeasurement
from signerd.core.evidence.transcript import verify_evidence
from signerd.core.names import KeyType, Level, MacKey, MacQuestion

VECTORS = Path(__file__).parents[4] / "vectors" / "psa"
CHIP, OTHER_CHIP = "CHIP-000001", "CHIP-000002"
REQUEST = Request(
    chip_id=CHIP,
    csr=b"csr",
    spki=b"spki",
    claims=Claims({}, {}),
    transcript=b"transcript",
    now=datetime(2026, 11, 20, tzinfo=UTC),
)
PROFILES = (RFC_9783, PSA_2_0_0, PSA_IOT_1)
ES, HMAC = ("ES256", "ES384", "ES512"), ("HMAC256", "HMAC384", "HMAC512")
SECRETS = {CHIP: bytes(range(64)), OTHER_CHIP: bytes(range(1, 65))}
ALL = {"spe": "2.1.0", "app": "1.2.0"}
VENDORS = {
    (profile, algorithm): PsaVendor(profile=profile, algorithm=algorithm, secrets=SECRETS)
    for profile in PROFILES
    for algorithm in (*ES, *HMAC)
}
SECTION = tomllib.loads(PsaVendor().product_section())["evidence"]["psa-token"]


def rules_of(section: Mapping[str, Any] = SECTION) -> EvidenceRules:
    return EvidenceRules.model_validate({"methods": ["psa-token"], "psa-token": section})


RULES = rules_of()
PERSONALIZED = Trust(personalized=True, locked=True, listed=False, identity=None, rules=RULES)


def identity_of(attester: PsaAttester) -> IdentityKey:
    return IdentityKey(attester.instance_id, attester.public_key)


def trust_in(attester: PsaAttester) -> Trust:
    """In this chip, as it was imported or personalized."""
    if attester.identity() is None:
        return PERSONALIZED
    return replace(PERSONALIZED, personalized=False, locked=False, identity=identity_of(attester))


def chip(profile: str = RFC_9783, algorithm: str = "ES256", chip_id: str = CHIP, **wrong: Any) -> PsaAttester:
    return VENDORS[profile, algorithm].attester(chip_id, **wrong)


def settled(outcome: Proved | ProvedIfMac, secret: bytes = SECRETS[CHIP]) -> Proved:
    """With the key holder's word, as `verify_evidence` asks for it."""
    if isinstance(outcome, Proved):
        return outcome
    question = outcome.question
    assert question.key is MacKey.PSA_IAK
    if not hmac.compare_digest(hmac.digest(secret, question.message, question.hash), question.mac):
        raise EvidenceError("the MAC is wrong")
    return outcome.proved


def verify(attester: PsaAttester, trust: Trust | None = None, request: Request = REQUEST) -> Proved:
    evidence = attester.attest(REQUEST.transcript, b"")
    return settled(PsaToken().verify(request, evidence, trust or trust_in(attester)))


def proved(level: Level, measured: Mapping[str, str], attester: PsaAttester) -> Proved:
    """What evidence of this chip reaches, with the anchors that it has by its kind of key."""
    if attester.identity() is None:
        return Proved(level, measured, anchors=(Anchor.personalized(CHIP),))
    identity = identity_of(attester)
    anchors = (Anchor.of_key(identity.spki), Anchor.imported(identity.key_id))
    return Proved(level, measured, identity.spki, anchors)


# The published examples.

VECTOR_RULES = rules_of(
    {
        "implementation_ids": ["00" * 32],
        "measurements": [{"component": "prot", "version": "1", "digest": "03" * 32, "signer": "04" * 32}],
    }
)
VECTOR_NONCE = b"\x01" * 32
SIGN1 = (VECTORS / "psa-sign1.cbor").read_bytes()
MAC0 = (VECTORS / "psa-mac0.cbor").read_bytes()
MAC0_KEY = (VECTORS / "tfm-hs-iak.bin").read_bytes()


def published_key() -> bytes:
    jwk = json.loads((VECTORS / "tfm-es-iak.json").read_text())
    x, y = (int.from_bytes(base64.urlsafe_b64decode(jwk[name] + "="), "big") for name in "xy")
    key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


SIGN1_TRUST = Trust(False, False, False, IdentityKey(b"\x01" + b"\x02" * 32, published_key()), VECTOR_RULES)
MAC0_TRUST = replace(PERSONALIZED, rules=VECTOR_RULES)


def verify_sign1_vector(evidence: bytes) -> Proved:
    return settled(verify_token(evidence, nonce=VECTOR_NONCE, chip_id=CHIP, trust=SIGN1_TRUST))


def verify_mac0_vector(evidence: bytes) -> Proved:
    return settled(verify_token(evidence, nonce=VECTOR_NONCE, chip_id=CHIP, trust=MAC0_TRUST), MAC0_KEY)


def test_the_published_examples_are_accepted() -> None:
    key = published_key()
    imported = (Anchor.of_key(key), Anchor.imported(b"\x01" + b"\x02" * 32))
    assert verify_sign1_vector(SIGN1) == Proved(Level.KEY, {"prot": "1"}, key, imported)
    personalized = (Anchor.personalized(CHIP),)
    assert verify_mac0_vector(MAC0) == Proved(Level.KEY, {"prot": "1"}, anchors=personalized)


def test_the_published_claims_are_read_as_they_are_printed() -> None:
    payload = SIGN1[10:-66]  # between tag, array, headers and length, and the signature
    assert read_claims(payload) == PsaClaims(
        nonce=b"\x01" * 32,
        instance_id=b"\x01" + b"\x02" * 32,
        implementation_id=bytes(32),
        client_id=2147483647,
        lifecycle=12288,
        components=(Component(b"\x03" * 32, b"\x04" * 32),),
    )


@pytest.mark.parametrize(
    ("verify_vector", "vector"), [(verify_sign1_vector, SIGN1), (verify_mac0_vector, MAC0)]
)
def test_every_changed_byte_of_a_published_example_is_refused(verify_vector: Any, vector: bytes) -> None:
    """All positions; each single bit, all bits, and the two that turn a head into its neighbours."""
    flips = [*(1 << bit for bit in range(8)), 0xFF, 0x03]
    for position in range(len(vector)):
        for flip in flips:
            changed = bytearray(vector)
            changed[position] ^= flip
            with pytest.raises(EvidenceError):
                pytest.fail(f"byte {position} ^ {flip:02x}: {verify_vector(bytes(changed))}")


@pytest.mark.parametrize(
    ("verify_vector", "vector"), [(verify_sign1_vector, SIGN1), (verify_mac0_vector, MAC0)]
)
def test_every_cut_and_every_byte_more_is_refused(verify_vector: Any, vector: bytes) -> None:
    for position in range(len(vector)):
        for changed in (
            vector[:position],
            vector[:position] + vector[position + 1 :],
            vector[:position] + b"\x00" + vector[position:],
        ):
            with pytest.raises(EvidenceError):
                verify_vector(changed)


# Tokens of simulated boards.


@pytest.mark.parametrize("algorithm", [*ES, *HMAC])
@pytest.mark.parametrize("profile", PROFILES)
def test_each_profile_and_algorithm_reaches_key(profile: str, algorithm: str) -> None:
    attester = chip(profile, algorithm)
    assert verify(attester) == proved(Level.KEY, ALL, attester)


@pytest.mark.parametrize(
    ("algorithm", "hash_name"), [("HMAC256", "sha256"), ("HMAC384", "sha384"), ("HMAC512", "sha512")]
)
def test_the_key_holder_is_asked_for_the_sessions_chip(algorithm: str, hash_name: str) -> None:
    evidence = chip(algorithm=algorithm).attest(REQUEST.transcript, b"")
    outcome = PsaToken().verify(replace(REQUEST, chip_id="the:session's"), evidence, PERSONALIZED)
    assert isinstance(outcome, ProvedIfMac)
    assert (outcome.question.chip_id, outcome.question.hash) == ("the:session's", hash_name)


@pytest.mark.parametrize(
    ("algorithm", "hash_name"), [("HMAC256", "sha256"), ("HMAC384", "sha384"), ("HMAC512", "sha512")]
)
async def test_a_chip_with_the_derived_key_is_accepted_on_the_whole_way(
    algorithm: str, hash_name: str
) -> None:
    def derive(chip_id: str, key: MacKey, name: str) -> bytes:
        return derive_chip_key(lambda data: hmac.digest(b"master", data, "sha256"), chip_id, key, name)

    async def check_mac(question: MacQuestion) -> bool:
        key = derive(question.chip_id, question.key, question.hash)
        return hmac.compare_digest(hmac.digest(key, question.message, question.hash), question.mac)

    secrets = {CHIP: derive(CHIP, MacKey.PSA_IAK, hash_name)}
    csr_der = keys.make_csr(keys.make_key("p256"), CHIP)
    evidence = (
        PsaVendor(algorithm=algorithm, secrets=secrets)
        .attester(CHIP)
        .attest(formats.transcript(VECTOR_NONCE, CHIP, csr_der, {}, {}), csr_der)
    )
    verified = await verify_evidence(
        EvidenceSubmission("psa-token", formats.claims({}, {}), evidence),
        methods={"psa-token": PsaToken()},
        challenge=VECTOR_NONCE,
        chip_id=CHIP,
        csr=check_csr(csr_der, accepted=tuple(KeyType)),
        trust=PERSONALIZED,
        now=REQUEST.now,
        check_mac=check_mac,
    )
    assert (verified.level, verified.versions) == (Level.KEY, ALL)


GENUINE: dict[str, dict[str, Any]] = {
    "claims with longer heads than needed": {"claims_style": "long"},
    "a claim that nobody knows": {"claims": {-80000: [Raw(b"\xf9\x3e\x00"), {"a": None}]}},
    "a claim under a text key": {"claims": {99: Pairs((("nonce", b""),))}},
    "no boot seed": {"claims": {"boot_seed": None}},
    "a short boot seed": {"claims": {"boot_seed": bytes(8)}},
    "a certification reference": {"claims": {"certification": "1234567890123-12345"}},
    "a verification service": {"claims": {"indicator": "https://verifier.example"}},
    "a secure caller": {"claims": {"client_id": 2**31 - 1}},
    "the least non-secure caller": {"claims": {"client_id": -(2**31)}},
    "another minor state of secured": {"lifecycle": 0x30FF},
}


@pytest.mark.parametrize("what", GENUINE)
def test_what_the_standard_leaves_free_is_accepted(what: str) -> None:
    assert verify(chip(**GENUINE[what])).level is Level.KEY


ACCEPTED = [{2: digest, 5: SIGNER} for _, _, digest in FIRMWARE.values()]


# One thing wrong with the token itself, whatever signs it.
WRONG_TOKEN: dict[str, dict[str, Any]] = {
    **{f"lifecycle {name}": {"lifecycle": name} for name in LIFECYCLES if name != "secured"},
    "lifecycle below secured": {"lifecycle": 0x2FFF},
    "lifecycle above secured": {"lifecycle": 0x3100},
    "lifecycle beyond 16 bits": {"lifecycle": 0x13000},
    "lifecycle negative": {"lifecycle": -0x3000},
    "lifecycle as bytes": {"claims": {"lifecycle": b"\x30\x00"}},
    "lifecycle as text": {"claims": {"lifecycle": "secured"}},
    "no lifecycle": {"claims": {"lifecycle": None}},
    "nonce of another transcript": {"nonce": "other"},
    "nonce cut": {"nonce": "truncated"},
    "nonce in an array": {"nonce": "array"},
    "the transcript as nonce": {"nonce": "transcript"},
    "a nonce of 48 bytes": {"nonce": bytes(48)},
    "an empty nonce": {"nonce": b""},
    "no nonce": {"claims": {"nonce": None}},
    "another implementation": {"implementation_id": OTHER},
    "an implementation id of 31 bytes": {"implementation_id": IMPLEMENTATION_ID[:-1]},
    "an implementation id of 33 bytes": {"implementation_id": IMPLEMENTATION_ID + b"\x00"},
    "no implementation id": {"claims": {"implementation_id": None}},
    "an instance id of 32 bytes": {"instance_id": b"\x01" + bytes(31)},
    "an instance id of 34 bytes": {"instance_id": b"\x01" + bytes(33)},
    "an instance id of type IMEI": {"instance_id": b"\x03" + bytes(32)},
    "no instance id": {"claims": {"instance_id": None}},
    "client id 0": {"claims": {"client_id": 0}},
    "client id true": {"claims": {"client_id": True}},
    "client id 2^31": {"claims": {"client_id": 2**31}},
    "client id below -2^31": {"claims": {"client_id": -(2**31) - 1}},
    "no client id": {"claims": {"client_id": None}},
    "a boot seed of 7 bytes": {"claims": {"boot_seed": bytes(7)}},
    "a boot seed of 33 bytes": {"claims": {"boot_seed": bytes(33)}},
    "a boot seed of text": {"claims": {"boot_seed": "0123456789abcdef"}},
    "a certification reference without a dash": {"claims": {"certification": "123456789012312345"}},
    "a certification reference with a newline": {"claims": {"certification": "1234567890123-12345\n"}},
    "a certification reference in other digits": {"claims": {"certification": "١234567890123-12345"}},
    "an empty verification service": {"claims": {"indicator": ""}},
    "an endless verification service": {"claims": {"indicator": "x" * 2049}},
    "a verification service as bytes": {"claims": {"indicator": b"https://verifier.example"}},
    "no profile": {"claims": {"profile": None}},
    "a profile that is not known": {"claims": {"profile": "tag:psacertified.org,2023:psa#aes-mac"}},
    "the base of the profile's name": {"claims": {"profile": "tag:psacertified.org,2023:psa"}},
    "a profile in bytes": {"claims": {"profile": RFC_9783.encode()}},
    "the name of the older profile": {"claims": {"profile": PSA_IOT_1}},
    "an old profile beside": {"claims": {-75000: PSA_IOT_1}},
    "an old nonce beside": {"claims": {-75008: bytes(32)}},
    "an old boot seed beside": {"claims": {2397: bytes(32)}},
    "no measurements, which this profile has not": {"claims": {"components": None, -75007: 1}},
    "components left out": {"claims": {"components": None}},
    "an empty list of components": {"claims": {"components": []}},
    "components as a map": {"claims": {"components": {0: {2: bytes(32), 5: bytes(32)}}}},
    "a component that is no map": {"claims": {"components": [bytes(32)]}},
    "a component without a signer": {"signer": None},
    "a signer of 16 bytes": {"signer": SIGNER[:16]},
    "a component without a measurement": {"claims": {"components": [{5: SIGNER}]}},
    "a measurement of 16 bytes": {"claims": {"components": [{2: bytes(16), 5: SIGNER}]}},
    "a measurement of text": {"claims": {"components": [{2: "0" * 32, 5: SIGNER}]}},
    "a component's version as a number": {"claims": {"components": [{2: bytes(32), 4: 1, 5: SIGNER}]}},
    "accepted components and one without a signer": {"claims": {"components": [*ACCEPTED, {2: OTHER}]}},
    "accepted components and one that is no map": {"claims": {"components": [*ACCEPTED, 0]}},
    "indefinite lengths": {"claims_style": "indefinite"},
    **{f"{name} twice": {"twice": name} for name in ("nonce", "lifecycle", "components", "profile")},
    "an extra unprotected header": {"unprotected": {33: b"certificate"}},
    "a key id": {"unprotected": {4: b"key"}},
    "a critical header": {"protected": {2: [33]}},
    "a further protected header": {"protected": {3: 61}},
    "an empty protected header": {"protected_raw": b""},
    "a protected header without alg": {"protected_raw": b"\xa0"},
    "alg twice": {"protected_raw": bytes.fromhex("a201260126")},
    "alg none": {"named_algorithm": "none"},
    "alg none, no signature": {"named_algorithm": "none", "proof": "empty"},
    "alg 0": {"named_algorithm": 0},
    "a cut signature": {"proof": "truncated"},
    "a longer signature": {"proof": "longer"},
    "no signature": {"proof": "empty"},
    "a signature of zeros": {"proof": "zero"},
    "another key": {"key": "other"},
    "a detached payload": {"detached": True},
    "no payload at all": {"signs_nil": True},
    "no tag": {"tag": 0},
    "tag of a COSE_Sign": {"tag": 98},
    "tag of a CWT": {"tag": 61},
    "a byte behind it": {"trailing": b"\x00"},
    "a second token behind it": {"trailing": SIGN1},
    "an envelope of indefinite lengths": {"envelope_style": "indefinite"},
    "an envelope with longer heads than needed": {"envelope_style": "long"},
}


@pytest.mark.parametrize("algorithm", ["ES256", "HMAC256"])
@pytest.mark.parametrize("what", WRONG_TOKEN)
def test_one_thing_wrong_and_the_token_does_not_hold(what: str, algorithm: str) -> None:
    assert verify(chip(algorithm=algorithm)).level is Level.KEY
    with pytest.raises(EvidenceError):
        verify(chip(algorithm=algorithm, **WRONG_TOKEN[what]))


WRONG_OLD_TOKEN: dict[str, tuple[str, dict[str, Any]]] = {
    "2.0.0: two boot seeds": (PSA_2_0_0, {"claims": {268: bytes(32)}}),
    "2.0.0: an older claim beside": (PSA_2_0_0, {"claims": {-75002: 0x3000}}),
    "2.0.0: no measurements": (PSA_2_0_0, {"claims": {"components": None, -75007: 1}}),
    "1: no boot seed": (PSA_IOT_1, {"claims": {"boot_seed": None}}),
    "1: a boot seed of 31 bytes": (PSA_IOT_1, {"claims": {"boot_seed": bytes(31)}}),
    "1: a newer claim beside": (PSA_IOT_1, {"claims": {2395: 0x3000}}),
    "1: a newer profile beside": (PSA_IOT_1, {"claims": {265: RFC_9783}}),
    "1: components and none of them": (PSA_IOT_1, {"claims": {"no_measurements": 1}}),
    "1: no measurements is 0": (PSA_IOT_1, {"claims": {"components": None, "no_measurements": 0}}),
    "1: no measurements is true": (PSA_IOT_1, {"claims": {"components": None, "no_measurements": True}}),
    "1: nothing of components": (PSA_IOT_1, {"claims": {"components": None}}),
    "1: a hardware version of 12 digits": (PSA_IOT_1, {"claims": {"certification": "1" * 12}}),
}


@pytest.mark.parametrize("what", WRONG_OLD_TOKEN)
def test_the_older_profiles_have_rules_of_their_own(what: str) -> None:
    profile, wrong = WRONG_OLD_TOKEN[what]
    assert verify(chip(profile)).level is Level.KEY
    with pytest.raises(EvidenceError):
        verify(chip(profile, **wrong))


@pytest.mark.parametrize(
    ("profile", "claims"),
    [
        (PSA_2_0_0, {"boot_seed": None, 268: bytes(32)}),
        (PSA_2_0_0, {"certification": "060456527282910010"}),
        (PSA_IOT_1, {"certification": "0604565272829"}),
        (PSA_IOT_1, {"certification": "0604565272829-10010"}),
    ],
)
def test_what_older_boards_write_is_accepted(profile: str, claims: dict[str | int, object]) -> None:
    assert verify(chip(profile, claims=claims)).level is Level.KEY


# Levels.


@pytest.mark.parametrize("algorithm", ["ES256", "HMAC256"])
@pytest.mark.parametrize(
    "wrong",
    [{"firmware": "replaced"}, {"firmware": "without app"}, {"firmware": "one more"}, {"signer": OTHER}],
    ids=str,
)
def test_other_firmware_on_a_genuine_chip_reaches_chip(algorithm: str, wrong: dict[str, Any]) -> None:
    attester = chip(algorithm=algorithm, **wrong)
    assert verify(attester) == proved(Level.CHIP, {}, attester)


def test_a_boot_loader_that_measures_nothing_reaches_chip() -> None:
    attester = chip(PSA_IOT_1, firmware="unmeasured")
    assert verify(attester) == proved(Level.CHIP, {}, attester)


def test_a_secret_in_a_chip_that_was_not_locked_reaches_chip() -> None:
    unlocked = replace(PERSONALIZED, locked=False)
    attester = chip(algorithm="HMAC256")
    assert verify(attester, unlocked) == proved(Level.CHIP, {}, attester)
    # With an imported key the list's maker answers for the chip.
    assert verify(chip()).level is Level.KEY


STATE = SignedMeasurement(component="app", version="1", digest="aa" * 32, signer=None)  # type: ignore[arg-type]
SPE = STATE.model_copy(update={"component": "spe", "digest": b"\xbb" * 32, "signer": b"\xcc" * 32})
APP_MEASURED, SPE_MEASURED = Component(b"\xaa" * 32, OTHER), Component(b"\xbb" * 32, b"\xcc" * 32)


@pytest.mark.parametrize(
    ("components", "accepted", "measured"),
    [
        ([APP_MEASURED, SPE_MEASURED], [STATE, SPE], {"app": "1", "spe": "1"}),
        ([SPE_MEASURED, APP_MEASURED], [STATE, SPE], {"app": "1", "spe": "1"}),
        # Two releases are accepted, one is measured.
        (
            [APP_MEASURED],
            [STATE, STATE.model_copy(update={"version": "2", "digest": b"\xdd" * 32})],
            {"app": "1"},
        ),
        ([], [STATE], {}),
        ([APP_MEASURED], [STATE, SPE], {}),
        ([APP_MEASURED, SPE_MEASURED], [STATE], {}),
        ([APP_MEASURED, replace(SPE_MEASURED, signer=OTHER)], [STATE, SPE], {}),
        ([APP_MEASURED, replace(SPE_MEASURED, measurement=OTHER)], [STATE, SPE], {}),
        ([replace(APP_MEASURED, measurement=b"\xaa" * 31)], [STATE], {}),
        # The same one twice, and two releases of one component at once.
        ([APP_MEASURED, APP_MEASURED], [STATE], {}),
        (
            [APP_MEASURED, replace(APP_MEASURED, measurement=b"\xdd" * 32)],
            [STATE, STATE.model_copy(update={"version": "2", "digest": b"\xdd" * 32})],
            {},
        ),
        # A measurement that fits two versions.
        ([APP_MEASURED], [STATE, STATE.model_copy(update={"version": "2"})], {}),
    ],
)
def test_firmware_is_accepted_as_a_whole_or_not(
    components: list[Component], accepted: list[SignedMeasurement], measured: dict[str, str]
) -> None:
    assert accepted_firmware(components, accepted) == measured


# Trust, keys and algorithms.


def test_another_chips_token_is_refused() -> None:
    """A genuine token, but of the chip beside it."""
    for algorithm in ("ES256", "HMAC256"):
        assert verify(chip(algorithm=algorithm)).level is Level.KEY
        with pytest.raises(EvidenceError):
            verify(chip(algorithm=algorithm, chip_id=OTHER_CHIP), trust_in(chip(algorithm=algorithm)))


def test_another_transcript_is_refused() -> None:
    for algorithm in ("ES256", "HMAC256"):
        with pytest.raises(EvidenceError, match="nonce"):
            verify(chip(algorithm=algorithm), request=replace(REQUEST, transcript=b"another"))


def test_the_instance_id_must_be_the_imported_one() -> None:
    attester = chip()
    other = replace(identity_of(attester), key_id=b"\x01" + OTHER)
    with pytest.raises(EvidenceError, match="instance id"):
        verify(attester, replace(trust_in(attester), identity=other))
    with pytest.raises(EvidenceError, match="instance id"):
        verify(chip(instance_id=b"\x01" + OTHER))


@pytest.mark.parametrize(
    ("algorithm", "change", "why"),
    [
        ("ES256", {"identity": None}, "no attestation key"),
        ("ES256", {"identity": None, "personalized": True, "locked": True}, "no attestation key"),
        ("HMAC256", {"personalized": False}, "never personalized"),
        ("HMAC256", {"identity": identity_of(chip())}, "public one"),
        ("ES256", {"rules": EvidenceRules.model_validate({"methods": ["none"]})}, "no rules"),
        (
            "ES256",
            {"rules": rules_of({**SECTION, "implementation_ids": [OTHER.hex()]})},
            "implementation id",
        ),
    ],
)
def test_without_what_it_rests_on_a_token_does_not_hold(
    algorithm: str, change: dict[str, Any], why: str
) -> None:
    attester = chip(algorithm=algorithm)
    assert verify(attester).level is Level.KEY
    with pytest.raises(EvidenceError, match=why):
        verify(attester, replace(trust_in(attester), **change))


@pytest.mark.parametrize("tag", [17, 18])
@pytest.mark.parametrize("named", [5, -7])
@pytest.mark.parametrize("personalized", [False, True])
def test_a_mac_under_the_public_key_is_never_taken_for_a_signature(
    tag: int, named: int, personalized: bool
) -> None:
    attester = chip(key="public", tag=tag, named_algorithm=named)
    trust = replace(trust_in(attester), personalized=personalized, locked=personalized)
    with pytest.raises(EvidenceError):
        verify(attester, trust)
    # Nor where no key was imported: the key holder's secret is not the public key.
    with pytest.raises(EvidenceError):
        verify(attester, replace(trust, identity=None))


@pytest.mark.parametrize("signer", ES)
@pytest.mark.parametrize("named", [-7, -35, -36, 5])
def test_a_swapped_algorithm_is_refused(signer: str, named: int) -> None:
    own = {"ES256": -7, "ES384": -35, "ES512": -36}[signer] == named
    if own:
        assert verify(chip(algorithm=signer, named_algorithm=named)).level is Level.KEY
        return
    with pytest.raises(EvidenceError):
        verify(chip(algorithm=signer, named_algorithm=named))


@pytest.mark.parametrize("signer", HMAC)
@pytest.mark.parametrize("named", [4, 5, 6, 7, -7])
def test_a_swapped_mac_algorithm_is_refused(signer: str, named: int) -> None:
    own = {"HMAC256": 5, "HMAC384": 6, "HMAC512": 7}[signer] == named
    if own:
        assert verify(chip(algorithm=signer, named_algorithm=named)).level is Level.KEY
        return
    with pytest.raises(EvidenceError):
        verify(chip(algorithm=signer, named_algorithm=named))


def test_a_signature_of_der_is_refused() -> None:
    with pytest.raises(EvidenceError, match="size"):
        verify(chip(proof="der"))


def test_parts_of_two_genuine_tokens_make_none() -> None:
    one, two = (chip(chip_id=chip_id) for chip_id in (CHIP, OTHER_CHIP))
    first, second = (each.attest(REQUEST.transcript, b"") for each in (one, two))
    assert len(first) == len(second)
    for cut in range(1, len(first)):
        mixed = first[:cut] + second[cut:]
        for each in (one, two):
            if mixed not in (first, second):
                with pytest.raises(EvidenceError):
                    PsaToken().verify(REQUEST, mixed, trust_in(each))


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_an_implementation_id_has_32_bytes_whatever_a_product_accepts(size: int) -> None:
    claims = {
        265: RFC_9783,
        10: bytes(32),
        256: b"\x01" + bytes(32),
        2394: 1,
        2395: 0x3000,
        2396: bytes(32),
        2399: ACCEPTED,
    }
    assert read_claims(encode(claims)).implementation_id == bytes(32)
    with pytest.raises(EvidenceError, match="implementation id"):
        read_claims(encode({**claims, 2396: bytes(size)}))


# The product's rules.


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"implementation_ids": ["00" * 31]}, "32 bytes"),
        ({"implementation_ids": []}, "at least 1"),
        ({"client_ids": ["3001"]}, "valid integer"),
        ({"client_ids": [True]}, "valid integer"),
        ({"client_ids": [3001.0]}, "valid integer"),
        ({"measurements": []}, "at least 1"),
        ({"measurements": [{"component": "app", "version": "1", "digest": "00" * 16}]}, "32, 48 or 64"),
        (
            {
                "measurements": [
                    {"component": "app", "version": "1", "digest": "00" * 32},
                    {"component": "app", "version": "2", "digest": "00" * 32},
                ]
            },
            "two components or versions",
        ),
        (
            {
                "measurements": [
                    {"component": "app", "version": "1", "digest": "00" * 32},
                    {"component": "spe", "version": "1", "digest": "00" * 32, "signer": "11" * 32},
                ]
            },
            "two components or versions",
        ),
    ],
)
def test_rules_that_could_never_hold_or_are_ambiguous_are_refused(change: dict[str, Any], why: str) -> None:
    rules_of(SECTION)
    with pytest.raises(ValidationError, match=why):
        rules_of({**SECTION, **change})


def test_one_state_may_have_two_signers() -> None:
    states = [
        {"component": "app", "version": "1", "digest": "00" * 32, "signer": signer * 32}
        for signer in ("11", "22")
    ]
    assert rules_of({**SECTION, "measurements": states}).psa_token is not None


# Any bytes.

GENUINE_TOKENS = {
    algorithm: chip(algorithm=algorithm).attest(REQUEST.transcript, b"") for algorithm in (*ES, *HMAC)
}
CLAIMS_OF = {
    profile: encode(
        {
            KEYS[profile]["profile"]: profile,
            KEYS[profile]["nonce"]: bytes(32),
            KEYS[profile]["components"]: [{2: FIRMWARE["app"][2], 5: SIGNER}],
        }
    )
    for profile in PROFILES
}


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_and_nothing_else(data: bytes) -> None:
    for trust in (SIGN1_TRUST, MAC0_TRUST):
        with pytest.raises(EvidenceError):
            settled(verify_token(data, nonce=VECTOR_NONCE, chip_id=CHIP, trust=trust))


@given(st.sampled_from([*ES, *HMAC]), st.integers(0, 700), st.binary(max_size=12), st.integers(0, 12))
def test_a_spliced_token_is_refused_and_nothing_else(
    algorithm: str, start: int, put: bytes, drop: int
) -> None:
    genuine = GENUINE_TOKENS[algorithm]
    start = min(start, len(genuine))
    changed = genuine[:start] + put + genuine[start + drop :]
    if changed != genuine:
        with pytest.raises(EvidenceError):
            settled(PsaToken().verify(REQUEST, changed, trust_in(chip(algorithm=algorithm))))


@given(st.sampled_from(PROFILES), st.integers(0, 200), st.binary(max_size=12), st.integers(0, 12))
def test_any_claims_that_a_key_signs_give_claims_or_the_domain_error(
    profile: str, start: int, put: bytes, drop: int
) -> None:
    """Genuine root of trust, hostile encoder: the claims come behind a signature that holds."""
    claims = CLAIMS_OF[profile]
    changed = claims[:start] + put + claims[start + drop :]
    attester = chip()
    with pytest.raises(EvidenceError):
        PsaToken().verify(REQUEST, attester.token(changed), trust_in(attester))


ITEMS: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**64), 2**64 - 1),
        st.binary(max_size=64),
        st.text(max_size=8),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers(0, 6), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(PROFILES), st.data())
def test_a_claim_of_any_form_never_stands_for_who_signed_what(profile: str, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(KEYS[profile])))
    value = data.draw(ITEMS)
    try:
        verify(chip(profile, claims={name: value}))
    except EvidenceError:
        return
    assert name not in ("profile", "nonce", "instance_id", "implementation_id")


@pytest.mark.parametrize("algorithm", ["ES256", "HMAC256"])
def test_memory_stays_bounded_for_the_largest_token(algorithm: str) -> None:
    attester = chip(algorithm=algorithm)
    filler = b"\xba\xff\xff\xff\xff" + b"".join(
        b"\x1a" + key.to_bytes(4, "big") + b"\x80" for key in range(MAX_EVIDENCE_BYTES // 6 - 20)
    )
    evidence = attester.token(filler)
    assert 0.98 * MAX_EVIDENCE_BYTES < len(evidence) <= MAX_EVIDENCE_BYTES
    tracemalloc.start()
    try:
        with pytest.raises(EvidenceError):
            PsaToken().verify(REQUEST, evidence, trust_in(attester))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000  # bytes


def test_no_refusal_says_what_was_expected() -> None:
    attester = chip()
    for wrong in WRONG_TOKEN.values():
        with pytest.raises(EvidenceError) as refusal:
            verify(chip(**wrong))
        for secret in (attester.instance_id, IMPLEMENTATION_ID, SIGNER):
            assert secret.hex() not in str(refusal.value)
            assert repr(secret) not in str(refusal.value)


@pytest.mark.parametrize(
    ("client_id", "level"), [(3001, Level.KEY), (3002, Level.CHIP), (-1, Level.CHIP), (-3001, Level.CHIP)]
)
def test_a_caller_that_the_product_does_not_name_proves_the_chip_alone(client_id: int, level: Level) -> None:
    attester = chip(claims={"client_id": client_id})
    assert verify(attester).level is Level.KEY
    named = replace(trust_in(attester), rules=rules_of({**SECTION, "client_ids": [3001, 4001]}))
    found = verify(attester, named)
    assert (found.level, bool(found.measured)) == (level, level is Level.KEY)
