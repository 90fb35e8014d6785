from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signerd.core import strict_cbor
from signerd.core.evidence import METHODS
from signerd.core.evidence.claims import Claims, parse_claims
from signerd.core.evidence.method import EvidenceError, EvidenceSubmission, Trust, VerifiedEvidence
from signerd.core.evidence.transcript import transcript, verify_evidence
from signerd.core.names import Level
from signerd.core.strict_cbor import CborError

SECRET = bytes(range(32))
CHALLENGE = bytes([1]) * 32
CSR = bytes([2]) * 32
CLAIMS = Claims({"app": ("1.2.0", bytes(32))}, {"secure_boot": True})


async def check_mac(chip_id: str, message: bytes, mac: bytes) -> bool:
    key = hmac.digest(SECRET, b"birthmark-chip-key-v1" + chip_id.encode(), "sha256")
    return hmac.compare_digest(hmac.digest(key, message, "sha256"), mac)


def mac_of(chip_id: str, message: bytes) -> bytes:
    key = hmac.digest(SECRET, b"birthmark-chip-key-v1" + chip_id.encode(), "sha256")
    return hmac.digest(key, message, "sha256")


TRUST = Trust("chip:1", personalized=True, locked=True, listed=False, check_mac=check_mac)
CLAIMS_BYTES = strict_cbor.encode(CLAIMS.items())
GOOD = EvidenceSubmission(
    "hmac-sha256", CLAIMS_BYTES, mac_of("chip:1", transcript(CHALLENGE, "chip:1", CSR, CLAIMS))
)


async def verify(
    submission: EvidenceSubmission = GOOD,
    trust: Trust = TRUST,
    challenge: bytes = CHALLENGE,
    csr: bytes = CSR,
    methods: Any = METHODS,
) -> VerifiedEvidence:
    return await verify_evidence(
        submission, methods=methods, challenge=challenge, csr_sha256=csr, trust=trust
    )


def test_the_transcript_is_what_the_page_says() -> None:
    message = transcript(CHALLENGE, "chip:1", CSR, CLAIMS)
    firmware, locks = {"app": ["1.2.0", bytes(32)]}, {"secure_boot": True}
    expected = ["birthmark-evidence-v1", CHALLENGE, "chip:1", CSR, firmware, locks]
    assert strict_cbor.decode(message, max_bytes=1000) == expected


async def test_a_locked_chip_reaches_key_an_open_one_chip() -> None:
    assert (await verify()).level is Level.KEY
    assert (await verify(trust=replace(TRUST, locked=False))).level is Level.CHIP


@pytest.mark.parametrize(
    "change",
    [
        {"challenge": bytes(32)},
        {"csr": bytes(32)},
        {"trust": replace(TRUST, chip_id="chip:2")},
        {"trust": replace(TRUST, personalized=False)},
        {"submission": replace(GOOD, evidence=GOOD.evidence[:31])},
        {"submission": replace(GOOD, evidence=GOOD.evidence + b"\x00")},
        {"submission": replace(GOOD, evidence=b"")},
        {"submission": replace(GOOD, evidence=bytes(20_000))},
        {"submission": replace(GOOD, method="none")},
        {"submission": replace(GOOD, method="sha256")},
        {"submission": replace(GOOD, method="")},
        {"submission": replace(GOOD, claims=strict_cbor.encode([{"app": ["1.3.0", bytes(32)]}, {}]))},
        {"methods": {"none": METHODS["none"]}},
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
