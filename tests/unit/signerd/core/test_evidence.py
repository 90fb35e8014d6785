"""The transcript and `verify_evidence`: what every method has in common, shown with the two simplest."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from signerd.core import strict_cbor
from signerd.core.anchors import Anchor
from signerd.core.csr import VerifiedCsr
from signerd.core.evidence import METHODS
from signerd.core.evidence.claims import Claims, parse_claims
from signerd.core.evidence.method import (
    MAX_EVIDENCE_BYTES,
    EvidenceError,
    EvidenceSubmission,
    Proved,
    ProvedIfMac,
    Request,
    Trust,
    VerifiedEvidence,
    Verifier,
)
from signerd.core.evidence.rules import EvidenceRules
from signerd.core.evidence.transcript import transcript, verify_evidence
from signerd.core.names import KeyType, Level, MacKey, MacQuestion
from signerd.core.strict_cbor import CborError

NOW = datetime(2026, 11, 15, tzinfo=UTC)
SECRET = bytes(range(32))
CHALLENGE = bytes([1]) * 32
KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
CSR = VerifiedCsr(
    der=b"csr",
    sha256=bytes([2]) * 32,
    evidence_digest=bytes([3]) * 32,
    spki=b"spki",
    spki_sha256=bytes([4]) * 32,
    key=KEY,
    key_type=KeyType.P256,
)
CLAIMS = Claims({"app": ("1.2.0", bytes(32))}, {"secure_boot": True})


def mac_of(chip_id: str, message: bytes) -> bytes:
    key = hmac.digest(SECRET, b"birthmark-chip-key-v1" + chip_id.encode(), "sha256")
    return hmac.digest(key, message, "sha256")


async def check_mac(question: MacQuestion) -> bool:
    assert (question.key, question.hash) == (MacKey.CHIP, "sha256")
    return hmac.compare_digest(mac_of(question.chip_id, question.message), question.mac)


TRUST = Trust(
    personalized=True,
    locked=True,
    listed=False,
    identity=None,
    rules=EvidenceRules.model_validate({"methods": ["hmac-sha256", "none"]}),
)
CLAIMS_BYTES = strict_cbor.encode(CLAIMS.items())
GOOD = EvidenceSubmission(
    "hmac-sha256",
    CLAIMS_BYTES,
    mac_of("chip:1", transcript(CHALLENGE, "chip:1", CSR.evidence_digest, CLAIMS)),
)


async def verify(
    submission: EvidenceSubmission = GOOD,
    trust: Trust = TRUST,
    *,
    challenge: bytes = CHALLENGE,
    chip_id: str = "chip:1",
    csr: VerifiedCsr = CSR,
    methods: Mapping[str, Verifier] = METHODS,
) -> VerifiedEvidence:
    return await verify_evidence(
        submission,
        methods=methods,
        challenge=challenge,
        chip_id=chip_id,
        csr=csr,
        trust=trust,
        now=NOW,
        check_mac=check_mac,
    )


def accepting(*methods: str) -> Trust:
    return replace(TRUST, rules=EvidenceRules.model_validate({"methods": list(methods)}))


def test_the_transcript_is_what_the_page_says() -> None:
    message = transcript(CHALLENGE, "chip:1", CSR.evidence_digest, CLAIMS)
    firmware, locks = {"app": ["1.2.0", bytes(32)]}, {"secure_boot": True}
    expected = ["birthmark-evidence-v1", CHALLENGE, "chip:1", CSR.evidence_digest, firmware, locks]
    assert strict_cbor.decode(message, max_bytes=1000) == expected


async def test_a_personalized_chip_is_anchored_by_the_id_that_was_burned_a_listed_one_by_nothing() -> None:
    assert (await verify()).anchors == (Anchor.personalized("chip:1"),)
    nothing = await verify(EvidenceSubmission("none", CLAIMS_BYTES, b""), replace(TRUST, listed=True))
    assert (nothing.anchors, nothing.name_is_label) == ((), False)


async def test_a_locked_chip_reaches_key_an_open_one_chip() -> None:
    assert (await verify()).level is Level.KEY
    assert (await verify(trust=replace(TRUST, locked=False))).level is Level.CHIP


@pytest.mark.parametrize(
    "change",
    [
        {"challenge": bytes(32)},
        {"csr": replace(CSR, evidence_digest=bytes(32))},
        {"chip_id": "chip:2"},
        {"trust": replace(TRUST, personalized=False)},
        {"submission": replace(GOOD, evidence=GOOD.evidence[:31])},
        {"submission": replace(GOOD, evidence=GOOD.evidence + b"\x00")},
        {"submission": replace(GOOD, evidence=b"")},
        {"submission": replace(GOOD, evidence=GOOD.evidence + bytes(MAX_EVIDENCE_BYTES))},
        {"submission": replace(GOOD, method="none")},
        {"submission": replace(GOOD, method="sha256")},
        {"submission": replace(GOOD, method="")},
        {"submission": replace(GOOD, claims=strict_cbor.encode([{"app": ["1.3.0", bytes(32)]}, {}]))},
        {"trust": accepting("none")},
    ],
)
async def test_one_change_and_it_does_not_hold(change: dict[str, Any]) -> None:
    await verify()
    with pytest.raises(EvidenceError):
        await verify(**change)


async def test_every_changed_byte_of_mac_and_claims_is_refused() -> None:
    for field, value in (("evidence", GOOD.evidence), ("claims", GOOD.claims)):
        for position in range(len(value)):
            changed = bytearray(value)
            changed[position] ^= 1
            with pytest.raises(EvidenceError):
                await verify(replace(GOOD, **{field: bytes(changed)}))  # type: ignore[arg-type]


async def test_method_none_needs_a_listed_chip_and_sends_nothing() -> None:
    nothing = EvidenceSubmission("none", CLAIMS_BYTES, b"")
    listed = replace(TRUST, listed=True, personalized=False)
    assert (await verify(nothing, listed)).level is Level.NONE
    with pytest.raises(EvidenceError):
        await verify(nothing, replace(listed, listed=False))
    with pytest.raises(EvidenceError):
        await verify(replace(nothing, evidence=b"x"), listed)


class Measuring:
    """A method that measures what it is told; with `mac`, the key holder has the last word."""

    name = "hmac-sha256"

    def __init__(self, measured: Mapping[str, str], *, mac: bytes | None = None) -> None:
        self.proved = Proved(Level.KEY, measured, b"attester")
        self.mac = mac
        self.requests: list[Request] = []

    def verify(self, request: Request, evidence: bytes, trust: Trust) -> Proved | ProvedIfMac:
        assert evidence == GOOD.evidence
        assert trust is TRUST
        self.requests.append(request)
        if self.mac is None:
            return self.proved
        question = MacQuestion(request.chip_id, MacKey.CHIP, "sha256", request.transcript, self.mac)
        return ProvedIfMac(self.proved, question)


async def test_a_method_gets_what_signerd_built() -> None:
    method = Measuring({})
    await verify(methods={"hmac-sha256": method})
    assert method.requests == [
        Request(
            chip_id="chip:1",
            csr=b"csr",
            spki=b"spki",
            claims=CLAIMS,
            transcript=transcript(CHALLENGE, "chip:1", CSR.evidence_digest, CLAIMS),
            now=NOW,
        )
    ]


async def test_what_was_measured_stands_beside_what_was_claimed() -> None:
    verified = await verify(methods={"hmac-sha256": Measuring({"app": "1.2.0", "boot": "3.1"})})
    assert (verified.method, verified.level, verified.attester) == ("hmac-sha256", Level.KEY, b"attester")
    assert verified.measured == {"app": "1.2.0", "boot": "3.1"}
    assert verified.claims == CLAIMS
    assert verified.versions == {"app": "1.2.0", "boot": "3.1"}


async def test_a_claim_that_a_measurement_contradicts_is_refused() -> None:
    with pytest.raises(EvidenceError, match="app"):
        await verify(methods={"hmac-sha256": Measuring({"app": "1.2.1", "boot": "3.1"})})


async def test_the_key_holder_has_the_last_word() -> None:
    right = mac_of("chip:1", transcript(CHALLENGE, "chip:1", CSR.evidence_digest, CLAIMS))
    verified = await verify(methods={"hmac-sha256": Measuring({"app": "1.2.0"}, mac=right)})
    assert verified.measured == {"app": "1.2.0"}
    with pytest.raises(EvidenceError, match="MAC"):
        await verify(methods={"hmac-sha256": Measuring({"app": "1.2.0"}, mac=bytes(32))})


@pytest.mark.parametrize(
    "item",
    [
        [],
        [{}],
        [{}, {}, {}],
        [{}, []],
        [[], {}],
        [{"app": ["1.0", bytes(31)]}, {}],
        [{"app": ["x", bytes(32)]}, {}],
        [{"app": ["1.0"]}, {}],
        [{"a b": ["1.0", bytes(32)]}, {}],
        [{}, {"secure_boot": 1}],
        [{}, {"a" * 33: True}],
        [{}, {str(number): True for number in range(17)}],
        {"app": 1},
        "claims",
    ],
)
def test_claims_of_another_form_are_refused(item: Any) -> None:
    with pytest.raises(CborError):
        parse_claims(strict_cbor.encode(item))


def test_claims_are_read() -> None:
    assert parse_claims(CLAIMS_BYTES) == CLAIMS
    assert hashlib.sha256(strict_cbor.encode(parse_claims(CLAIMS_BYTES).items())).digest() == (
        hashlib.sha256(CLAIMS_BYTES).digest()
    )


@given(st.binary(max_size=300))
def test_any_bytes_are_claims_or_the_domain_error(data: bytes) -> None:
    try:
        claims = parse_claims(data)
    except CborError:
        return
    assert strict_cbor.encode(claims.items()) == data
