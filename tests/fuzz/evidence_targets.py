"""Targets that need no signerd: CSR, claims, stamp, and the evidence of each method.

The evidence of a method is fuzzed twice: as a station would send it, where few inputs pass the first
signature; and its inner structures for themselves (`inner_targets`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import cache

from boards import formats, keys
from fuzz.inner_targets import INNER
from harness.both_sides import NOW
from harness.evidence_samples import FIRMWARE, LOCKS, VENDORS, EvidenceSample, make_sample
from harness.installation import SENSOR
from signerd.core.csr import check_csr
from signerd.core.evidence.claims import parse_claims
from signerd.core.evidence.method import EvidenceError
from signerd.core.explain import Unrecognized, explain
from signerd.core.names import KeyType
from signerd.core.product import Product, parse_product
from signerd.core.stamp import StampError, parse_stamp
from signerd.core.strict_cbor import CborError
from signerd.errors import Refused

Runner = Callable[[bytes], None]
Seeds = Callable[[], list[bytes]]


def _csr(data: bytes) -> None:
    try:
        check_csr(data, accepted=tuple(KeyType))
    except Refused:
        return


def _csr_seeds() -> list[bytes]:
    boards = [keys.make_key(key_type) for key_type in ("p256", "p384", "rsa2048")]
    plain = [keys.make_csr(key, "CHIP-000001") for key in boards]
    return [*plain, keys.make_csr(boards[0], "CHIP-000001", null_parameters=True)]


def _claims(data: bytes) -> None:
    try:
        parse_claims(data)
    except CborError:
        return


def _stamp(data: bytes) -> None:
    try:
        parse_stamp(data)
    except StampError:
        return


def _stamp_seeds() -> list[bytes]:
    fields = formats.StampFields(
        challenge=bytes(32),
        chip_id="CHIP-000001",
        serial_number="BM-000001",
        certificate_digest=bytes(32),
        settings_digest=bytes(32),
        firmware=FIRMWARE,
        security_state=LOCKS,
        pop_commitment=None,
    )
    return [fields.encode(), replace(fields, pop_commitment=bytes(32)).encode()]


@cache
def _sample(method: str) -> EvidenceSample:
    return make_sample(method)


def _evidence(method: str) -> Runner:
    # One loop for all inputs: making one for each would be most of the time.
    loop = asyncio.new_event_loop()

    def run(data: bytes) -> None:
        try:
            loop.run_until_complete(replace(_sample(method), evidence=data).verified())
        except EvidenceError:
            return

    return run


def _evidence_seeds(method: str) -> Seeds:
    return lambda: [_sample(method).evidence]


@cache
def _product() -> Product:
    vendor = VENDORS["x509"]("CHIP-000001")
    return parse_product(SENSOR.replace('["hmac-sha256"]', '["x509"]') + "\n" + vendor.product_section())


def _explain(data: bytes) -> None:
    """What a stranger's file makes of an administrator's terminal."""
    for product in (None, _product()):
        try:
            explanation = explain(data, product, NOW)
        except Unrecognized as error:
            texts = [str(error)]
        else:
            texts = [line.text + line.remedy for line in explanation.lines]
            texts += [verdict.reason + verdict.remedy for verdict in explanation.methods]
        assert all(text.isprintable() for text in texts)


def _explain_seeds() -> list[bytes]:
    evidence = [make_sample(method).evidence for method in VENDORS]
    lines = [data.hex().encode() for data in evidence[1:2]]
    return [*evidence, *lines, *_csr_seeds()[:1]]


TARGETS: dict[str, tuple[Runner, Seeds]] = {
    "csr": (_csr, _csr_seeds),
    "claims": (_claims, lambda: [formats.claims(FIRMWARE, LOCKS)]),
    "stamp": (_stamp, _stamp_seeds),
    **{method: (_evidence(method), _evidence_seeds(method)) for method in VENDORS},
    "explain": (_explain, _explain_seeds),
    **INNER,
}
