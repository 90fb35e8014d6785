"""Method `x509`: `[signature, [certificate, …]]` by a key that the chip's vendor, or DICE, certified."""

from __future__ import annotations

from auditor.core import cbor
from auditor.core.books import Basis
from auditor.core.evidence.asked import MAX_EVIDENCE, Asked, Shown, false
from auditor.core.evidence.attestation_key import check_chain, check_chip, check_signature, key_of, spki_of
from auditor.core.evidence.dice import firmware_of
from auditor.errors import Malformed


def check(asked: Asked, evidence: bytes) -> Shown:
    """Level `key` where all firmware that the chain measures is accepted; where it measures none, for a CSR
    of the certified key itself whose vendor certifies only keys that are born in the chip. Else `chip`.

    Raises:
        CheckFailed: EVIDENCE_FALSE.
    """
    signature, chain = _read(evidence)
    path = check_chain(chain, asked.rules.roots["x509"], asked.moment)
    check_chip(path[0], asked.rules.chip_id["x509"], asked.chip_id)
    key = key_of(path[0])
    check_signature(key, signature, asked.transcript)
    firmware = firmware_of(path, asked.rules.measurements["x509"])
    attester = spki_of(key)
    born = asked.rules.born_keys and attester == asked.spki and not firmware.measured
    level = "key" if firmware.accepted or born else "chip"
    return Shown(Basis.SIGNATURE, level, firmware.accepted, attester)


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
