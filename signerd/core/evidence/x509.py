"""Method `x509`: an attestation key that the chip's vendor certified, or that DICE did, signs the transcript.

Evidence is deterministic CBOR, `[signature, [certificate, …]]`, with the certificate of the key that signed
first. What is checked, in this order:

1. The form: strict CBOR, 1 to 6 certificates.
2. The chain, to one of the product's roots.
3. The chip: by the product's rule the chain names exactly the chip of this session.
4. The signature over the transcript, by the algorithm that the key's type decides.
5. The firmware, where the chain measures it.

The level is `key` if all the firmware that DICE measured is accepted; or, for a chip that measures none, if
the product says that its vendor certifies only keys that were born in the chip, and the CSR is for that very
key. All else that holds is `chip`. In particular, where the vendor promises nothing, a CSR for the
attestation key itself is neither refused nor worth more: the chip took part, and where its key was born
stays open. And where firmware was measured and not accepted, the promise does not help: the firmware holds
the key. Nor does it help what the CA of a chip's own firmware certified: the vendor did not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding

from signerd.core import strict_cbor
from signerd.core.anchors import AnchorKind
from signerd.core.evidence import dice
from signerd.core.evidence.chain import AttestationKey, ValidChain, recorded_chain, validate_chain
from signerd.core.evidence.chip_rules import CertifiedChip, identify
from signerd.core.evidence.device_id import device_id
from signerd.core.evidence.method import (
    MAX_EVIDENCE_BYTES,
    EvidenceError,
    Origin,
    Proved,
    Request,
    Traits,
    Trust,
)
from signerd.core.evidence.rules import EvidenceRules, X509Rules, describe_measured
from signerd.core.key_policy import PublicKey, check_quality
from signerd.core.names import Level
from signerd.core.strict_cbor import CborError

# Extended key usages that a certified attestation key may have: the TCG's for attestation and identity keys
# of DICE (tcg-dice-kp 6 to 9), and clientAuth, which secure elements' vendors write. A key for signing code,
# time stamps or OCSP answers attests nothing, whatever root it is under.
PURPOSES: Final = frozenset(
    {
        "1.3.6.1.5.5.7.3.2",  # clientAuth
        "2.23.133.5.4.100.6",  # identityInit
        "2.23.133.5.4.100.7",  # identityLoc
        "2.23.133.5.4.100.8",  # attestInit
        "2.23.133.5.4.100.9",  # attestLoc
    }
)
# And a CA of the chain, if it says what it is for.
ISSUING_PURPOSES: Final = frozenset({dice.EMBEDDED_CA})
_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}


def _reach(rules: EvidenceRules) -> Level:
    section = rules.x509
    born = section is not None and (section.measurements or section.certifies_born_keys)
    return Level.KEY if born else Level.CHIP


def _describe(rules: EvidenceRules) -> str:
    section = rules.x509
    assert section is not None  # noqa: S101 - rules with the method have the section
    born = section.certifies_born_keys
    promise = "; its vendor certifies only keys that are born in the chip" if born else ""
    return (
        f"{describe_measured(section.measurements)}; chip id from the {section.chip_id.where}"
        f"{_describe_vendor_cas(section.vendor_cas)}{promise}"
    )


def _describe_vendor_cas(count: int | None) -> str:
    if count is None:
        return ""
    theirs = {0: "the root alone is", 1: "the root and 1 CA below it are"}.get(
        count, f"the root and {count} CAs below it are"
    )
    return f"; {theirs} the vendor's, what follows is the chip's"


class X509Attestation:
    """A signature over the transcript, by a key with a chain to a pinned root."""

    name = "x509"
    traits = Traits(
        origin=lambda _rules: Origin.VENDOR,
        anchors=frozenset({AnchorKind.KEY, AnchorKind.SERIAL, AnchorKind.UEID}),
        takes_chains=True,
        reach=_reach,
        roots=lambda rules: () if rules.x509 is None else rules.x509.roots,
        describe=_describe,
        shortfall="it shows no firmware, or firmware that the product does not accept",
    )

    def verify(self, request: Request, evidence: bytes, trust: Trust) -> Proved:
        """`key` or `chip`, as the module's docstring says."""
        rules = trust.rules.x509
        if rules is None:
            raise EvidenceError("the product has no rules for x509")
        signature, certificates = read_evidence(evidence)
        chip = certified_chip(certificates, rules, request.now, request.quality)
        chain = chip.chain
        # The station's word for the chip is only what the certificate is held against.
        if chip.chip_id != request.chip_id:
            raise EvidenceError("the certificate is another chip's")
        _check_signature(chain.key, signature, request.transcript)
        firmware = dice.measured_firmware(chain.certificates, rules.measurements)
        level = _level(request, chain, firmware, rules)
        return Proved(level, firmware.versions, chain.leaf_spki, chip.anchors, chip.name_is_label)


def certified_chip(
    certificates: Sequence[bytes],
    rules: X509Rules,
    now: datetime,
    quality: Callable[[PublicKey], None] = check_quality,
) -> CertifiedChip:
    """The chain that the product trusts, and the chip that it names; `quality` as for `validate_chain`.

    Raises:
        EvidenceError: no such chain, or it names no chip.
    """
    chain = validate_chain(
        certificates,
        rules.roots,
        now,
        purposes=PURPOSES,
        issuing=ISSUING_PURPOSES,
        critical=dice.EXTENSIONS,
        quality=quality,
    )
    return _chip_of(chain, rules)


def recorded_chip(evidence: bytes, rules: X509Rules) -> CertifiedChip:
    """The chip that evidence is of which was verified when it was recorded. No clock, no signature.

    Args:
        evidence: as recorded.
        rules: of the product's revision of then.

    Raises:
        EvidenceError: it is no evidence, or not of these rules.
    """
    _, certificates = read_evidence(evidence)
    return _chip_of(recorded_chain(certificates, rules.roots), rules)


def _chip_of(chain: ValidChain, rules: X509Rules) -> CertifiedChip:
    device = device_id(chain.certificates, rules.vendor_cas, measures=bool(rules.measurements))
    return identify(chain, rules.chip_id, device)


def read_evidence(evidence: bytes) -> tuple[bytes, list[bytes]]:
    """The signature and the certificates. Raises EvidenceError for another form."""
    try:
        item = strict_cbor.decode(evidence, max_bytes=MAX_EVIDENCE_BYTES, max_depth=2)
    except CborError as error:
        raise EvidenceError(f"the evidence is not its CBOR: {error}") from error
    match item:
        case [bytes(signature), [*certificates]] if all(type(der) is bytes for der in certificates):
            return signature, certificates
        case _:
            raise EvidenceError("the evidence is not [signature, [certificate, …]]")


def _check_signature(key: AttestationKey, signature: bytes, message: bytes) -> None:
    """The key's type alone decides the algorithm; nothing that was sent does."""
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(_HASHES[key.curve.name]))
        else:
            key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, UnsupportedAlgorithm, ValueError) as error:
        raise EvidenceError("the signature over the transcript does not verify") from error


def _level(request: Request, chain: ValidChain, firmware: dice.MeasuredFirmware, rules: X509Rules) -> Level:
    if firmware.versions:
        return Level.KEY
    born = rules.certifies_born_keys and request.spki == chain.leaf_spki
    return Level.KEY if born and not firmware.present else Level.CHIP
