"""Step 3 of issuance: the CSR (PKCS#10, RFC 2986). Only its public key goes further.

Accepted is a CSR of version v1 in DER's frame (`core/certification_request.py`), signed with its own key by
an algorithm of the list, that does not ask for a CA's certificate. What a library writes besides is not
looked at, for nothing of it is granted. The AlgorithmIdentifier is one of those listed, to the byte: with
NULL parameters for ECDSA too, which Mbed TLS 2.28 and the nRF91 modem write against RFC 5758 §3.2, and
without them for RSA too, which RFC 4055 §5 wants to be accepted. The self-signature is verified over the
bytes that came, and digests are taken over them.

What costs most comes last: form, key type, self-signature, then the key's quality, which for RSA may be
looked at elsewhere (`QualityLater`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from signerd.core.certification_request import check_asks_for_a_leaf, read_request
from signerd.core.csr_attestation import CsrAttestation, take_attestation
from signerd.core.der import DerError
from signerd.core.key_policy import PublicKey, WeakKeyError, check_quality, check_type
from signerd.core.names import KeyType
from signerd.core.signature_algorithms import OF_REQUESTS, check_signature
from signerd.errors import Code, Refused

MAX_CSR_BYTES = 8192


@dataclass(frozen=True, slots=True)
class VerifiedCsr:
    """A CSR that passed. Only `check_csr` makes it."""

    der: bytes  # as received
    sha256: bytes  # of `der`
    evidence_digest: bytes  # what the transcript holds of the CSR: `sha256`, unless evidence is inside it
    spki: bytes  # SubjectPublicKeyInfo, DER, in its one canonical form
    spki_sha256: bytes
    key: PublicKey
    key_type: KeyType
    attestation: CsrAttestation | None = None  # evidence that came inside it


def check_csr(
    data: bytes,
    *,
    accepted: tuple[KeyType, ...],
    quality: Callable[[PublicKey], None] = check_quality,
) -> VerifiedCsr:
    """Checks a CSR to the letter.

    Args:
        data: as the station sent it.
        accepted: key types of the product.
        quality: called once, with the key, when all else is right; raises WeakKeyError.

    Raises:
        Refused: `csr_rejected` for its form or signature, `key_rejected` for its key.
    """
    if not 0 < len(data) <= MAX_CSR_BYTES:
        raise Refused(Code.CSR_REJECTED, f"the request has {len(data)} bytes, not 1 to {MAX_CSR_BYTES}")
    try:
        request = read_request(data)
        check_asks_for_a_leaf(request)
        if request.algorithm not in OF_REQUESTS:
            raise DerError("the self-signature's algorithm is not on the list")  # noqa: TRY301 (as the others)
        rest, attestation = take_attestation(request.info)
        key, key_type = check_type(load_der_public_key(request.spki), accepted)
        check_signature(key, request.algorithm, request.signature, request.info)
        quality(key)
    except WeakKeyError as error:
        raise Refused(Code.KEY_REJECTED, str(error)) from error
    except InvalidSignature as error:
        raise Refused(Code.CSR_REJECTED, "the request's signature does not fit the key in it") from error
    except DerError as error:
        raise Refused(Code.CSR_REJECTED, str(error)) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Refused(Code.CSR_REJECTED, f"{type(error).__name__}: {error}") from error
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    # One key must have one digest: a compressed point or odd parameters would give it a second.
    if request.spki != spki:
        raise Refused(Code.KEY_REJECTED, "the SubjectPublicKeyInfo is not in its canonical form")
    digest = hashlib.sha256(data).digest()
    return VerifiedCsr(
        der=data,
        sha256=digest,
        evidence_digest=hashlib.sha256(rest).digest() if attestation else digest,
        spki=spki,
        spki_sha256=hashlib.sha256(spki).digest(),
        key=key,
        key_type=key_type,
        attestation=attestation,
    )
