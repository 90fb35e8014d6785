"""Method `x509`: `[signature, [certificate, …]]` by a key that the chip's vendor, or DICE, certified."""

from __future__ import annotations

from collections.abc import Sequence

from auditor.core import cbor
from auditor.core.books import Basis
from auditor.core.evidence.appraisal import MAX_EVIDENCE, AppraisalInputs, AttestationResult, false
from auditor.core.evidence.attestation_key import check_signature, spki_of
from auditor.core.evidence.certificate import Certificate
from auditor.core.evidence.chain import check_chain, issuers_of, key_of
from auditor.core.evidence.chip import Shown, device_id, shown_by
from auditor.core.evidence.dice import (
    EMBEDDED_CA,
    LOCAL_KEYS,
    MULTI_TCB_INFO,
    TCB_INFO,
    UEID,
    VENDORS_KEYS,
    firmware_of,
)
from auditor.core.product import ProductRules
from auditor.errors import Malformed

_CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"
# What a certificate's extendedKeyUsage may say of an attestation key; docs/formats.md names no others.
_PURPOSES = frozenset({_CLIENT_AUTH, *VENDORS_KEYS, *LOCAL_KEYS})


def check(inputs: AppraisalInputs, evidence: bytes) -> AttestationResult:
    """Level `key` where all firmware that the chain measures is accepted; where it speaks of none,
    for a CSR of the certified key itself whose vendor certifies only keys that are born in the chip. Else
    `chip`.

    Raises:
        CheckFailed: EVIDENCE_FALSE.
    """
    signature, chain = _read(evidence)
    path = check_chain(
        chain,
        inputs.rules.roots["x509"],
        inputs.moment,
        purposes=_PURPOSES,
        issuing={EMBEDDED_CA},
        critical={TCB_INFO, MULTI_TCB_INFO, UEID},
    )
    shown = _chip(path, inputs.rules)
    if shown.chip_id != inputs.chip_id:
        raise false("the certificate is another chip's", inputs.chip_id, shown.chip_id)
    key = key_of(path[0])
    check_signature(key, signature, inputs.transcript)
    firmware = firmware_of(path, inputs.rules.measurements["x509"])
    attester = spki_of(key)
    born = inputs.rules.born_keys and attester == inputs.spki and not firmware.spoken_of
    level = "key" if firmware.accepted or born else "chip"
    return AttestationResult(Basis.SIGNATURE, level, firmware.accepted, attester, anchors=shown.anchors)


def _chip(path: Sequence[Certificate], rules: ProductRules) -> Shown:
    device = device_id(path, rules.vendor_cas, measures=bool(rules.measurements["x509"]))
    return shown_by(path, issuers_of(path, rules.roots["x509"]), rules.chip_id["x509"], device)


def _read(evidence: bytes) -> tuple[bytes, list[bytes]]:
    try:
        value = cbor.decode(evidence, maximum=MAX_EVIDENCE)
    except Malformed as error:
        raise false(str(error)) from error
    match value:
        case [bytes(signature), [*chain]] if all(isinstance(item, bytes) for item in chain):
            return signature, chain
        case _:
            raise false("not [signature, [certificate, …]]")
