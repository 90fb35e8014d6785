"""Evidence and tokens: read as the daemon reads them, and judged as far as the file alone allows.

What is over the transcript (its signature, nonce or `extraData`) is of one session, and stays open; so does a
key that must be imported for the chip, unless the list that it is in is at hand. All else is said: the form,
the chain, the chip id, the platform's state, the firmware and the level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from signerd.core.evidence import nrf91, psa_token, tpm2, x509
from signerd.core.evidence.cose import CoseError, Mac0, read_message, verify_sign1
from signerd.core.evidence.method import EvidenceError
from signerd.core.evidence.psa_token import PsaClaims
from signerd.core.evidence.rules import EvidenceRules, Nrf91Rules, PsaTokenRules
from signerd.core.evidence.tpm_structures import parse_attest, parse_public, parse_signature
from signerd.core.explain.certificates import explain_certificates
from signerd.core.explain.methods import refused, within_level
from signerd.core.explain.remedies import remedy_for
from signerd.core.explain.report import Line, MethodVerdict, State, shown
from signerd.core.identity_list import ChipIdentity
from signerd.core.names import Level

_Found = tuple[list[Line], tuple[MethodVerdict, ...]]
# The imported identity with this key id, if the list has it.
Finder = Callable[[bytes], ChipIdentity | None]
_OPEN_SESSION = Line(
    State.OPEN, "what is over the transcript: only the session that the evidence is for can tell"
)


def explain_evidence(
    method: str, data: bytes, rules: EvidenceRules | None, now: datetime, find: Finder | None = None
) -> _Found:
    """What is to say of it, and the method's verdict where a product was named.

    Args:
        method: that the file's form shows.
        data: as in `SignCsr`.
        rules: of a product; None: none was named.
        now: aware; at which certificates must be valid.
        find: looks up an attestation key in a list of identities; None: no list is at hand.
    """
    try:
        lines, verdicts = _READERS[method](data, _with_method(rules, method), now, find)
    except (EvidenceError, CoseError) as error:
        reason = str(error)
        return [Line(State.WRONG, shown(reason), remedy_for(reason))], ()
    if rules is not None and method not in rules.methods:
        verdicts = (
            MethodVerdict(
                method,
                "the product does not accept this method",
                accepted=False,
                remedy=f"name {method} in the product's methods, with its section [evidence.{method}]",
            ),
        )
    return [*lines, _OPEN_SESSION], verdicts


def _with_method(rules: EvidenceRules | None, method: str) -> EvidenceRules | None:
    """The rules as of a product with this method alone; None where it has no rules for it."""
    if rules is None or method not in rules.methods:
        return None
    return rules.model_copy(update={"methods": (method,)})


def _x509(data: bytes, rules: EvidenceRules | None, now: datetime, _find: Finder | None) -> _Found:
    signature, certificates = x509.read_evidence(data)
    lines, verdicts = explain_certificates(certificates, rules, now, method="x509")
    return [Line(State.OK, f"a signature of {len(signature)} bytes, and a chain"), *lines], verdicts


def _tpm2(data: bytes, rules: EvidenceRules | None, now: datetime, _find: Finder | None) -> _Found:
    attest_bytes, signature_bytes, public_bytes, certificates = tpm2.read_evidence(data)
    attest, signature, public = (
        parse_attest(attest_bytes),
        parse_signature(signature_bytes),
        parse_public(public_bytes),
    )
    tpm2.check_certified(attest, public)
    lines = [
        Line(State.OK, f"TPM2_Certify of the key {public.name.hex()}, signed with {signature.scheme}"),
        Line(State.OK, "the key was born in the TPM, cannot leave it, and signs what it is given"),
    ]
    if certificates:
        more, verdicts = explain_certificates(certificates, rules, now, method="tpm2")
        return lines + more, verdicts
    key = Line(State.OPEN, "no chain: the attestation key must be imported (signerd chips import-identities)")
    if rules is None:
        return [*lines, key], ()
    if rules.tpm2.roots:
        return lines, (refused("tpm2", "the product has roots, so that a chain is wanted"),)
    return [*lines, key], (MethodVerdict("tpm2", "with the chip's imported key", level=Level.KEY.label),)


def _psa(data: bytes, rules: EvidenceRules | None, _now: datetime, find: Finder | None) -> _Found:
    message = read_message(data)
    if message.kid is not None:
        raise EvidenceError("the unprotected header is not empty")
    claims = psa_token.read_claims(message.payload)
    maced = isinstance(message, Mac0)
    lines = [
        Line(State.OK, f"a {'COSE_Mac0' if maced else 'COSE_Sign1'} ({message.algorithm.name})"),
        Line(State.NOTE, f"instance id {claims.instance_id.hex()}"),
        Line(State.NOTE, f"implementation id {claims.implementation_id.hex()}"),
        Line(State.NOTE, f"lifecycle {claims.lifecycle:#06x}; asked for by client {claims.client_id}"),
        *(
            Line(State.NOTE, f"component measured as {one.measurement.hex()}, signer {one.signer.hex()}")
            for one in claims.components
        ),
    ]
    chip_id = ""
    if isinstance(message, Mac0):
        lines.append(Line(State.OPEN, _WHOSE_MAC))
    else:
        identity, line = _imported(claims.instance_id, _WHOSE_KEY, find)
        if identity is not None:
            verify_sign1(message, identity.spki)
            chip_id = identity.chip_id
        lines.append(line)
    if rules is None or rules.psa_token is None:
        return lines, ()
    verdict = replace(_psa_verdict(claims, rules.psa_token, maced=maced), chip_id=chip_id)
    rule = "of the imported key" if chip_id else ""
    return lines, (within_level(replace(verdict, chip_id_rule=rule), rules),)


def _imported(key_id: bytes, otherwise: str, find: Finder | None) -> tuple[ChipIdentity | None, Line]:
    """The key that the list has, and what to say; its signatures are verified by the caller."""
    if find is None:
        return None, Line(State.OPEN, otherwise)
    identity = find(key_id)
    if identity is None:
        missing = "no line of the list has this key id"
        return None, Line(State.WRONG, missing, "import the key (signerd chips import-identities)")
    return identity, Line(State.OK, "signed by the key that the list has for this chip")


_WHOSE_MAC = "its tag: only the HSM can check it, for a chip that was personalized"
_WHOSE_KEY = "its signature: the key of this instance id must be imported (signerd chips import-identities)"


def _psa_verdict(claims: PsaClaims, rules: PsaTokenRules, *, maced: bool) -> MethodVerdict:
    try:
        psa_token.check_platform(claims, rules)
    except EvidenceError as error:
        return refused("psa-token", str(error))
    measured = psa_token.measured_firmware(claims, rules)
    if not measured:
        return MethodVerdict(
            "psa-token",
            "the components, or who asked, are not all that the product accepts",
            remedy="for level key add the measurements above, or the client, to [evidence.psa-token]",
            level=Level.CHIP.label,
        )
    versions = ", ".join(f"{name} {version}" for name, version in sorted(measured.items()))
    locked = ", if the chip was personalized as locked" if maced else ""
    return MethodVerdict("psa-token", f"accepted firmware: {versions}{locked}", level=Level.KEY.label)


def _nrf91(data: bytes, rules: EvidenceRules | None, _now: datetime, find: Finder | None) -> _Found:
    keygen_text, token_text = nrf91.read_evidence(data)
    keygen, _ = nrf91.read_keygen(keygen_text)
    token, _, _ = nrf91.read_attesttoken(token_text)
    if keygen.uuid != token.uuid:
        raise EvidenceError("keygen and attestation token are of two devices")
    uuid = str(UUID(bytes=keygen.uuid))
    identity, line = _imported(keygen.uuid, _WHOSE_IDENTITY_KEY, find)
    if identity is not None:
        nrf91.verify_keygen(keygen_text, identity.spki)
        nrf91.verify_attesttoken(token_text, identity.spki)
    lines = [
        Line(
            State.OK, f"keygen over a CSR of {len(keygen.csr)} bytes, and an attestation token of one device"
        ),
        Line(State.NOTE, f"device UUID {uuid}; modem firmware {token.firmware.hex()}"),
        line,
    ]
    if rules is None:
        return lines, ()
    verdict = replace(_nrf91_verdict(token.firmware, rules.nrf91), chip_id=uuid, chip_id_rule="device UUID")
    return lines, (within_level(verdict, rules),)


def _nrf91_verdict(firmware: bytes, rules: Nrf91Rules) -> MethodVerdict:
    if not rules.measurements:
        return MethodVerdict("nrf91", "the product accepts any modem firmware", level=Level.KEY.label)
    if any(one.digest == firmware for one in rules.measurements):
        return MethodVerdict("nrf91", "accepted modem firmware", level=Level.KEY.label)
    return MethodVerdict(
        "nrf91",
        "the modem runs a firmware that the product does not list",
        remedy="for level key add its UUID to [evidence.nrf91] measurements",
        level=Level.CHIP.label,
    )


_WHOSE_IDENTITY_KEY = "both signatures: the identity key must be imported (signerd chips import-identities)"
_READERS: dict[str, Callable[[bytes, EvidenceRules | None, datetime, Finder | None], _Found]] = {
    "x509": _x509,
    "tpm2": _tpm2,
    "psa-token": _psa,
    "nrf91": _nrf91,
}
