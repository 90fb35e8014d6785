"""Method `tpm2`: a TPM 2.0 says that the CSR's key was made inside it, and can never leave.

Evidence is `[attest, signature, public, [certificate, …]]` (docs/formats.md): what TPM2_Certify (Part 3,
18.2) gave for the key, signed by an attestation key (AK) of the same TPM. Parts and sections are those of the
TPM 2.0 Library, revision 1.59. It holds when

1. the AK is one that the product trusts for this chip (below),
2. its signature is over the attest, with SHA-256, SHA-384 or SHA-512,
3. the attest begins with TPM_GENERATED_VALUE and is of TPM2_Certify (Part 2, 10.12.12),
4. its `extraData` is the SHA-256 of the transcript, whole: fresh, for this CSR and chip,
5. the certified name is the name of `public`, nameAlg ‖ H(public) (Part 1, "Names"). TPM2_Certify refuses an
   object of which only the public area is loaded (Part 3, 18.2.1), so that the attributes are true,
6. they say that the key was born in this TPM and cannot be copied out of it, and signs what it is given,
7. its public key is the CSR's, as bytes of a SubjectPublicKeyInfo.

**Whose AK.** The product decides, never the station. With `roots` there must be a chain, and the chip id is
the one that the AK's certificate names; an identity that was imported for the chip as well must be of that
very key. Without `roots` there must be no chain, and the AK is the one that was imported for the chip.

**What is taken on trust.** Step 3 means something for a *restricted* AK alone: a TPM never signs bytes from
outside that begin with TPM_GENERATED_VALUE with such a key (Part 2, 8.3.3.12), while an unrestricted one
signs any forgery. An import shows the AK's public area, so there it is checked (core/identity_list.py), and
whoever makes the list vouches for a genuine TPM alone. A chain does not: whoever certifies an AK vouches
that it is restricted, `fixedTPM` and of a genuine TPM. So that no other certificate of the same CA is
taken for that promise, the AK's must carry the extended key usage tcg-kp-AIKCertificate; or the product says
of the very CA that signed it that it certifies nothing else (`certifies_aks_only`, docs/adr/0019).
`qualifiedSigner` cannot show it: it is H(QN of the parent ‖ name of the AK) (Part 1, "Names"), and the
parent's is not known here. Its hash must be that of an imported AK's name, which tells a wrong list early and
proves nothing. The certified key's `qualifiedName` likewise would only say under which parent it was made;
`fixedTPM` already says that every ancestor is of this TPM (Part 2, 8.3.3.2).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import load_der_public_key

from signerd.core import strict_cbor
from signerd.core.anchors import Anchor, AnchorKind
from signerd.core.evidence.certificate import extended_key_usage, key_usage
from signerd.core.evidence.chain import ValidChain, recorded_chain, validate_chain
from signerd.core.evidence.chip_rules import CertifiedChip, identify
from signerd.core.evidence.method import (
    MAX_EVIDENCE_BYTES,
    Entered,
    EvidenceError,
    IdentityKey,
    Origin,
    Proved,
    Request,
    Traits,
    Trust,
)
from signerd.core.evidence.rules import EvidenceRules, Tpm2Rules
from signerd.core.evidence.tpm_structures import (
    Attest,
    Attribute,
    Public,
    Signature,
    parse_attest,
    parse_public,
    parse_signature,
)
from signerd.core.key_policy import PublicKey, WeakKeyError, check_quality, check_type
from signerd.core.names import Level
from signerd.core.strict_cbor import CborError

_NAME_ALGORITHM_BYTES = 2  # of a name, Part 2, 10.5.3

# tcg-kp-AIKCertificate (TCG OID registry); Web Authentication §8.3.1 demands it of AKs' certificates too.
AK_PURPOSE = "2.23.133.8.3"

_BORN_HERE = Attribute.FIXED_TPM | Attribute.FIXED_PARENT | Attribute.SENSITIVE_DATA_ORIGIN
_REQUIRED = _BORN_HERE | Attribute.USER_WITH_AUTH | Attribute.SIGN
# One key, one use. A restricted key is made to sign what the TPM says of itself (Part 2, 8.3.3.10), one with
# `decrypt` to decrypt (8.3.3.11), one with `x509sign` never signs for TPM2_Sign, so not a CSR either
# (8.3.3.13). No TPM sets `encryptedDuplication` beside `fixedTPM` (8.3.3.9). What remains is the user's
# choice: stClear, adminWithPolicy, noDA.
_FORBIDDEN = Attribute.RESTRICTED | Attribute.X509_SIGN | Attribute.DECRYPT | Attribute.ENCRYPTED_DUPLICATION


def _describe(rules: EvidenceRules) -> str:
    if not rules.tpm2.roots:
        return "keys imported by chip"
    only = "; these CAs certify nothing but attestation keys" if rules.tpm2.certifies_aks_only else ""
    return f"keys certified under these roots{only}; chip id from the {rules.tpm2.chip_id.where}"


class Tpm2:
    """TPM2_Certify of the CSR's key by a certified or imported attestation key."""

    name = "tpm2"
    traits = Traits(
        origin=lambda rules: Origin.VENDOR if rules.tpm2.roots else Origin.COMPANY,
        entered=frozenset({Entered.IMPORTED}),
        anchors=frozenset({AnchorKind.KEY, AnchorKind.IMPORTED, AnchorKind.SERIAL, AnchorKind.UEID}),
        takes_chains=True,
        roots=lambda rules: rules.tpm2.roots,
        describe=_describe,
        shortfall="it shows no firmware, or firmware that the product does not accept",
    )

    def verify(self, request: Request, evidence: bytes, trust: Trust) -> Proved:
        """Level `key`: the TPM itself says where the key was born, whatever firmware runs beside it."""
        attest_bytes, signature_bytes, public_bytes, chain = read_evidence(evidence)
        # Cheap first: no signature is looked at for bytes that could not hold anyway.
        attest = parse_attest(attest_bytes)
        signature = parse_signature(signature_bytes)
        public = parse_public(public_bytes)
        if attest.extra_data != hashlib.sha256(request.transcript).digest():
            raise EvidenceError("extraData is not the SHA-256 of the transcript")
        check_certified(attest, public)
        if public.spki != request.spki:
            raise EvidenceError("the certified key is not the CSR's")
        key, spki, anchors = _attestation_key(chain, attest, request, trust)
        _check_signature(key, signature, attest_bytes)
        return Proved(Level.KEY, attester=spki, anchors=anchors)


def read_evidence(evidence: bytes) -> tuple[bytes, bytes, bytes, list[bytes]]:
    """Attest, signature, public area and chain. Raises EvidenceError for another form."""
    try:
        item = strict_cbor.decode(evidence, max_bytes=MAX_EVIDENCE_BYTES)
    except CborError as error:
        raise EvidenceError(f"evidence: {error}") from error
    match item:
        case [bytes(attest), bytes(signature), bytes(public), list(chain)]:
            if all(isinstance(certificate, bytes) for certificate in chain):
                return attest, signature, public, chain
    raise EvidenceError("evidence is not [attest, signature, public, [certificate, …]]")


def check_certified(attest: Attest, public: Public) -> None:
    """Steps 5 and 6: the certified key was born in this TPM, and stays there. Raises EvidenceError."""
    if attest.name != public.name:
        raise EvidenceError("the certified name is not that of the public area")
    # Part 1, "Names": a qualified name is computed with the object's own nameAlg.
    if attest.qualified_name[:_NAME_ALGORITHM_BYTES] != attest.name[:_NAME_ALGORITHM_BYTES]:
        raise EvidenceError("name and qualified name are of different hashes")
    missing = _REQUIRED & ~public.attributes
    if missing:
        raise EvidenceError(f"the key lacks {missing.name}")
    wrong = _FORBIDDEN & public.attributes
    if wrong:
        raise EvidenceError(f"the key has {wrong.name}")


def _attestation_key(
    chain: list[bytes], attest: Attest, request: Request, trust: Trust
) -> tuple[PublicKey, bytes, tuple[Anchor, ...]]:
    """The AK that the product trusts for this chip, its SubjectPublicKeyInfo, and the chip's anchors."""
    identity = trust.identity
    anchors = () if identity is None else identity.anchors
    if trust.rules.tpm2.roots:
        chip = certified_chip(chain, trust.rules.tpm2, request.now, request.quality)
        if chip.chip_id != request.chip_id:
            raise EvidenceError("the certificate is another chip's")
        spki = chip.chain.leaf_spki
        anchors = tuple(sorted({*anchors, *chip.anchors}))
        if identity is not None and identity.spki != spki:
            raise EvidenceError("another attestation key was imported for this chip")
    elif chain:
        raise EvidenceError("the product has no roots for a chain")
    elif identity is None:
        raise EvidenceError("no attestation key was imported for this chip")
    else:
        spki = identity.spki
    if identity is not None:
        _check_signer(attest, identity)
    return _strong(spki, request.quality), spki, anchors


def certified_chip(
    certificates: Sequence[bytes],
    rules: Tpm2Rules,
    now: datetime,
    quality: Callable[[PublicKey], None] = check_quality,
) -> CertifiedChip:
    """The chain of an AK that the product trusts, and the chip that it names. `quality`: as `validate_chain`.

    Raises:
        EvidenceError: no such chain, or it names no chip.
    """
    return identify(_valid_chain(certificates, rules, now, quality), rules.chip_id)


def recorded_chip(evidence: bytes, rules: Tpm2Rules) -> CertifiedChip:
    """The chip that evidence with a chain is of which was verified when it was recorded, as for `x509`.

    Raises:
        EvidenceError: it is no evidence, has no chain, or not of these rules.
    """
    *_, certificates = read_evidence(evidence)
    return identify(recorded_chain(certificates, rules.roots), rules.chip_id)


def _valid_chain(
    certificates: Sequence[bytes], rules: Tpm2Rules, now: datetime, quality: Callable[[PublicKey], None]
) -> ValidChain:
    if rules.certifies_aks_only:
        return _promised_chain(certificates, rules, now, quality)
    valid = validate_chain(certificates, rules.roots, now, purposes=(AK_PURPOSE,), quality=quality)
    # No purpose and anyExtendedKeyUsage, which `validate_chain` lets pass, promise nothing of a TPM.
    if AK_PURPOSE not in (extended_key_usage(valid.leaf) or ()):
        raise EvidenceError("the certificate is not for an attestation key")
    return valid


def _promised_chain(
    certificates: Sequence[bytes], rules: Tpm2Rules, now: datetime, quality: Callable[[PublicKey], None]
) -> ValidChain:
    """Under a pinned CA that certifies nothing but AKs, by the product's word: itself, and no CA below it."""
    if len(certificates) != 1:
        raise EvidenceError("the product's promise is about pinned CAs: none may stand between")
    valid = validate_chain(certificates, rules.roots, now, purposes=None, quality=quality)
    if key_usage(valid.leaf) is None:  # where there is one, it allows signing: an endorsement key's does not
        raise EvidenceError("the certificate does not say that its key signs")
    return valid


def _check_signer(attest: Attest, identity: IdentityKey) -> None:
    if attest.qualified_signer[:_NAME_ALGORITHM_BYTES] != identity.key_id[:_NAME_ALGORITHM_BYTES]:
        raise EvidenceError("qualifiedSigner has another hash than the imported key's name")


def _strong(spki: bytes, quality: Callable[[PublicKey], None]) -> PublicKey:
    """P-256, P-384, or RSA of 2048, 3072 or 4096 bits with e = 65537. TPMs had ROCA (CVE-2017-15361)."""
    try:
        key, _ = check_type(load_der_public_key(spki))
        quality(key)
    except (WeakKeyError, TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise EvidenceError(f"the attestation key is not accepted: {error}") from error
    return key


def _check_signature(key: PublicKey, signature: Signature, message: bytes) -> None:
    if isinstance(key, ec.EllipticCurvePublicKey) != (signature.scheme == "ecdsa"):
        raise EvidenceError("the signature's scheme is not of the attestation key's type")
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature.value, message, ec.ECDSA(signature.hash))
        else:
            key.verify(signature.value, message, _padding(signature), signature.hash)
    except InvalidSignature as error:
        raise EvidenceError("the attestation key did not sign this attest") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise EvidenceError(f"the signature cannot be checked: {error}") from error


def _padding(signature: Signature) -> padding.PSS | padding.PKCS1v15:
    if signature.scheme == "rsassa":
        return padding.PKCS1v15()
    # Part 1, B.7: the salt is of the hash's size, or, in older TPMs, as long as the key allows.
    return padding.PSS(padding.MGF1(signature.hash), padding.PSS.AUTO)
