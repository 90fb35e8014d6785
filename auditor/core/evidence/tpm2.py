"""Method `tpm2`: `[attest, signature, public, [certificate, …]]`, TPM2_Certify of the certified key by an
attestation key (AK) of the same TPM, with `extraData` = SHA-256(transcript).

A name is nameAlg ‖ H(public area) (TPM 2.0 Library, Part 1, "Names"), so that what a TPM certifies of a name
holds for the attributes in `public`. That the AK is restricted, and signs nothing else that looks like this,
is what its certificate, or who imported it, vouches for.
"""

from __future__ import annotations

from hashlib import new as new_hash
from hashlib import sha256

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from auditor.core import cbor
from auditor.core.anchors import Anchor, key_anchor
from auditor.core.books import Basis
from auditor.core.counting import identities
from auditor.core.evidence import tpm_structures as tpm
from auditor.core.evidence.appraisal import MAX_EVIDENCE, AppraisalInputs, AttestationResult, false
from auditor.core.evidence.attestation_key import AttestationKey, load_key, spki_of
from auditor.core.evidence.certificate import extended_key_usage, key_usage
from auditor.core.evidence.chain import check_chain, issuers_of, key_of
from auditor.core.evidence.chip import shown_by
from auditor.errors import Malformed

_NAME_HASHES = {tpm.SHA256: "sha256", tpm.SHA384: "sha384", tpm.SHA512: "sha512"}
_HASHES: dict[int, hashes.HashAlgorithm] = {
    tpm.SHA256: hashes.SHA256(),
    tpm.SHA384: hashes.SHA384(),
    tpm.SHA512: hashes.SHA512(),
}
# TPMA_OBJECT (Part 2, 8.3): what must be set, and what may be: stClear, adminWithPolicy, noDA. All others
# must not: restricted keys sign for the TPM itself, those with decrypt or x509sign are for other things than
# a CSR, encryptedDuplication goes with no fixedTPM, and the rest is reserved.
_SET = {1: "fixedTPM", 4: "fixedParent", 5: "sensitiveDataOrigin", 6: "userWithAuth", 18: "sign"}
_FREE = frozenset({2, 7, 10})
_AK_BITS = frozenset({256, 384, 2048, 3072, 4096})  # P-256, P-384, RSA
_AIK_CERTIFICATE = "2.23.133.8.3"  # tcg-kp-AIKCertificate


def check(inputs: AppraisalInputs, evidence: bytes) -> AttestationResult:
    """Level `key`.

    Raises:
        CheckFailed: EVIDENCE_FALSE.
    """
    attest, signature, public, chain = _read(evidence)
    key, anchors = _attestation_key(inputs, chain)
    if isinstance(key, ed25519.Ed25519PublicKey) or key.key_size not in _AK_BITS:
        raise false("tpm2: an attestation key of a kind that no TPM here has")
    try:
        certified, signed, area = (
            tpm.read_attest(attest),
            tpm.read_signature(signature),
            tpm.read_public(public),
        )
    except Malformed as error:
        raise false(f"tpm2: {error}") from error
    if not _is_signed(key, signed, attest):
        raise false("tpm2: the attestation key did not sign it")
    if certified.extra_data != sha256(inputs.transcript).digest():
        raise false("tpm2: for another session, request or chip")
    if area.name_hash not in _NAME_HASHES:
        raise false("tpm2: a name by a hash that is not allowed")
    digest = new_hash(_NAME_HASHES[area.name_hash], public).digest()
    if certified.name != area.name_hash.to_bytes(2, "big") + digest:
        raise false("tpm2: another key was certified")
    off = [name for bit, name in _SET.items() if not area.attributes >> bit & 1]
    off += [f"bit {bit}" for bit in range(32) if area.attributes >> bit & 1 and bit not in {*_SET, *_FREE}]
    if off:
        raise false("tpm2: the key's attributes", found=", ".join(off))
    if spki_of(area.key) != inputs.spki:
        raise false("tpm2: not the certified key")
    attester = spki_of(key)
    if chain:
        return AttestationResult(Basis.SIGNATURE, "key", attester=attester, anchors=anchors)
    under = identities("tpm2", inputs.product)
    return AttestationResult(
        Basis.SIGNATURE, "key", attester=attester, imported=True, anchors=anchors, rests_on=under
    )


def _read(evidence: bytes) -> tuple[bytes, bytes, bytes, list[bytes]]:
    try:
        value = cbor.decode(evidence, maximum=MAX_EVIDENCE)
    except Malformed as error:
        raise false(str(error)) from error
    match value:
        case [bytes(attest), bytes(signature), bytes(public), [*chain]] if all(
            isinstance(item, bytes) for item in chain
        ):
            return attest, signature, public, chain
        case _:
            raise false("not [attest, signature, public, [certificate, …]]")


def _attestation_key(
    inputs: AppraisalInputs, chain: list[bytes]
) -> tuple[AttestationKey, tuple[Anchor, ...]]:
    """The product decides whether the AK is certified or imported; the evidence does not."""
    roots = inputs.rules.roots["tpm2"]
    if bool(roots) != bool(chain):
        raise false("tpm2: a chain goes with roots of the product, and an imported key with none")
    if not chain:
        return load_key(inputs.attester), (key_anchor(inputs.attester),)
    promised = inputs.rules.aks_only
    path = check_chain(chain, roots, inputs.moment, purposes=None if promised else {_AIK_CERTIFICATE})
    leaf = path[0]
    shown = shown_by(path, issuers_of(path, roots), inputs.rules.chip_id["tpm2"])
    if shown.chip_id != inputs.chip_id:
        raise false("the certificate is another chip's", inputs.chip_id, shown.chip_id)
    if promised:  # by the company, of the pinned CA itself; that the key signs, the certificate must say
        if len(chain) != 1 or key_usage(leaf) is None:
            raise false("tpm2: the promise about the product's CAs does not cover this certificate")
    elif _AIK_CERTIFICATE not in (extended_key_usage(leaf) or ()):  # not even one for any purpose
        raise false("tpm2: the certificate is not an attestation key's")
    return key_of(leaf), shown.anchors


def _is_signed(key: AttestationKey, signature: tpm.Signature, data: bytes) -> bool:
    digest = _HASHES.get(signature.hash)
    if digest is None:  # SHA-1, for one
        return False
    try:
        match key, signature.scheme:
            case ec.EllipticCurvePublicKey() as public, tpm.ECDSA:
                r, s = (int.from_bytes(part, "big") for part in signature.parts)
                public.verify(encode_dss_signature(r, s), data, ec.ECDSA(digest))
            case rsa.RSAPublicKey() as public, tpm.RSASSA:
                public.verify(signature.parts[0], data, padding.PKCS1v15(), digest)
            case rsa.RSAPublicKey() as public, tpm.RSAPSS:
                # The TPM's salt is as long as the digest or as fits (Part 1, "RSASSA_PSS").
                pss = padding.PSS(padding.MGF1(digest), padding.PSS.AUTO)
                public.verify(signature.parts[0], data, pss, digest)
            case _:
                return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True
