"""Evidence inside the CSR: the attribute id-aa-attestation (draft-ietf-lamps-csr-attestation-29).

A CSR carries at most one, with one statement of a kind that one of signerd's methods reads. It is taken
apart into that method's own evidence bytes, and nothing else of the attribute goes further: a field that
nobody reads is refused, since the evidence cannot speak of the attribute that holds it.

    AttestationBundle ::= SEQUENCE {
      attestations  SEQUENCE SIZE (1..MAX) OF AttestationStatement,   -- here exactly one
      certs         SEQUENCE SIZE (1..MAX) OF LimitedCertChoices OPTIONAL }
    AttestationStatement ::= SEQUENCE { type OBJECT IDENTIFIER, stmt ANY DEFINED BY type }

Read are two types of statement:

- tcg-attest-tpm-certify (2.23.133.20.1) becomes `tpm2`. `stmt` is the Tcg-csr-tpm-certify of the TPM
  appendix that the draft had up to revision 20, with all three members, and in them bare TPM structures
  (TPMS_ATTEST, TPMT_SIGNATURE, TPMT_PUBLIC). `certs` are X.509 certificates, the attestation key's first;
  they may be absent.
- id-pe-cmw (1.3.6.1.5.5.7.1.35) becomes `psa-token`. `stmt` is a CMW (RFC 9999) in its `cbor` choice: a
  record whose type is an EAT in CBOR, and whose value is the token. No `certs`: the key is imported.

The drafts before -21 had the same DER, with an optional `hint` behind `stmt`; revisions 21 to 23 had further
members. Both are refused: they say nothing that signerd needs.

What the evidence is over is the CertificationRequestInfo without this attribute: it cannot hold a digest of
itself. The CSR's signature covers it all.
"""

from __future__ import annotations

from dataclasses import dataclass

from signerd.core import der, strict_cbor
from signerd.core.der import DerError
from signerd.core.strict_cbor import CborError

_ATTRIBUTES = 0xA0  # RFC 2986 §4.1: attributes [0] IMPLICIT SET OF

ID_AA_ATTESTATION = "1.2.840.113549.1.9.16.2.59"
_ID_AA_ATTESTATION = bytes.fromhex("060b2a864886f70d010910023b")
_TPM_CERTIFY = bytes.fromhex("06056781051401")
_CMW = bytes.fromhex("06082b06010505070123")

# The types of a CMW record that are an EAT in CBOR (RFC 9782 §6.3; RFC 9783 §10.4 for the profiles), as
# media type and as CoAP Content-Format. Which profile the token has is for the token to say.
_PSA_PROFILES = ("tag:psacertified.org,2023:psa#tfm", "tag:psacertified.org,2019:psa#legacy")
_EAT_MEDIA_TYPES = frozenset(
    {
        "application/eat+cwt",
        *(f'application/eat+cwt; eat_profile="{profile}"' for profile in _PSA_PROFILES),
        "application/psa-attestation-token",  # before RFC 9783 gave the profiles
    }
)
_EAT_CONTENT_FORMATS = frozenset({263, 10003, 10004})
_MAX_CMW_BYTES = 8192  # as a whole CSR


class CsrAttestationError(ValueError):
    """The attribute, or the CertificationRequestInfo around it, is not of the form."""


@dataclass(frozen=True, slots=True)
class CsrAttestation:
    """Evidence that came inside a CSR."""

    method: str
    evidence: bytes  # in the method's own form (docs/formats.md)


def take_attestation(info: bytes) -> tuple[bytes, CsrAttestation | None]:
    """Takes the attribute out of a CSR.

    Args:
        info: CertificationRequestInfo, DER.

    Returns:
        The CertificationRequestInfo without the attribute, DER, and what the attribute held; `info` itself
        and None where there is no such attribute.

    Raises:
        CsrAttestationError: not DER of this form, a repeated attribute, or a statement that no method reads.
    """
    try:
        fields = der.elements(der.content(info, der.SEQUENCE))
        if not fields or fields[-1][0] != _ATTRIBUTES:
            return info, None
        attributes = der.elements(der.content(fields[-1], _ATTRIBUTES))
        parsed = [der.elements(der.content(attribute, der.SEQUENCE)) for attribute in attributes]
        if len({attribute[0] for attribute in parsed if attribute}) != len(parsed):
            raise CsrAttestationError("an attribute appears twice, or is empty")
        found = [attribute for attribute in parsed if attribute[0] == _ID_AA_ATTESTATION]
        if not found:
            return info, None
        # X.690 §11.6: what is left of a sorted SET OF stays sorted, and is what a firmware would sign.
        if attributes != sorted(attributes):
            raise CsrAttestationError("the attributes are not in DER's order")
        left = [raw for raw, attribute in zip(attributes, parsed, strict=True) if attribute not in found]
        rest = der.sequence(*fields[:-1], der.element(_ATTRIBUTES, b"".join(left)))
        return rest, _bundle(_single_value(found[0]))
    except (DerError, CborError) as error:
        raise CsrAttestationError(str(error)) from error


def _single_value(attribute: list[bytes]) -> bytes:
    if len(attribute) != 2:
        raise CsrAttestationError("the attribute is not a type and its values")
    values = der.elements(der.content(attribute[1], der.SET))
    if len(values) != 1:
        raise CsrAttestationError("the attribute has not exactly one value")
    return values[0]


def _bundle(bundle: bytes) -> CsrAttestation:
    members = der.elements(der.content(bundle, der.SEQUENCE))
    if len(members) not in {1, 2}:
        raise CsrAttestationError("an AttestationBundle has statements and perhaps certificates")
    certificates: list[bytes] = []
    if len(members) == 2:
        certificates = der.elements(der.content(members[1], der.SEQUENCE))
        if not certificates or any(certificate[0] != der.SEQUENCE for certificate in certificates):
            raise CsrAttestationError("certs is empty, or one of them is no X.509 certificate")
    statements = der.elements(der.content(members[0], der.SEQUENCE))
    if len(statements) != 1:
        raise CsrAttestationError(f"{len(statements)} statements where one is allowed")
    match der.elements(der.content(statements[0], der.SEQUENCE)):
        case [kind, statement] if kind == _TPM_CERTIFY:
            return _tpm_certify(statement, certificates)
        case [kind, statement] if kind == _CMW and not certificates:
            return _cmw(statement)
        case _:
            raise CsrAttestationError("a statement that no method reads")


def _tpm_certify(statement: bytes, certificates: list[bytes]) -> CsrAttestation:
    """`Tcg-csr-tpm-certify ::= SEQUENCE { tpmSAttest, signature, tpmTPublic: OCTET STRING }`."""
    members = der.elements(der.content(statement, der.SEQUENCE))
    if len(members) != 3:
        raise CsrAttestationError("a TPM statement has attest, signature and public area")
    attest, signature, public = (der.content(member, der.OCTET_STRING) for member in members)
    return CsrAttestation("tpm2", strict_cbor.encode([attest, signature, public, certificates]))


def _cmw(statement: bytes) -> CsrAttestation:
    """`CMW ::= CHOICE { json UTF8String, cbor OCTET STRING }`, RFC 9999; a record `[type, value, ?ind]`."""
    record = strict_cbor.decode(der.content(statement, der.OCTET_STRING), max_bytes=_MAX_CMW_BYTES)
    match record:
        case [kind, bytes(token)] | [kind, bytes(token), 4]:  # `ind` with the bit of evidence alone, §3.1
            pass
        case _:
            raise CsrAttestationError("the CMW is not a record of evidence")
    known = (
        kind in _EAT_MEDIA_TYPES
        if isinstance(kind, str)
        else (type(kind) is int and kind in _EAT_CONTENT_FORMATS)
    )
    if not known:
        raise CsrAttestationError("the CMW's type is not an EAT in CBOR")
    return CsrAttestation("psa-token", token)
