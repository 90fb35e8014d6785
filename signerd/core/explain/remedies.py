"""What to do about a refusal, by words of its reason.

The reasons are signerd's own (`EvidenceError`, `Refused`); a reason that no line here knows leads to the page
that says what is accepted.
"""

from __future__ import annotations

from typing import Final

EVIDENCE_PAGE: Final = "docs/evidence.md says what is accepted, docs/formats.md in which form"

# The first line whose words are in the reason counts.
_REMEDIES: Final = (
    ("does not end at a pinned root", "add the CA that issued the last certificate to the product's roots"),
    ("has a root's key in it", "leave the root out of the evidence: the product holds it"),
    ("issuer is not the next one", "send the leaf first, then each issuer"),
    ("signature does not verify", "send the leaf first, then each issuer, each as it was issued"),
    ("expired", "ask the CA's owner for a certificate that is valid, or check the date (--at)"),
    ("not valid", "ask the CA's owner for a certificate that is valid, or check the date (--at)"),
    ("the leaf is a CA", "evidence begins with the attestation key's certificate, not with a CA's"),
    ("the leaf's key usage", "the attestation key's certificate needs the key usage digitalSignature"),
    ("extended key usage", "it was issued for another purpose: ask its issuer for one that attests"),
    ("not for an attestation key", "it needs tcg-kp-AIKCertificate, or certifies_aks_only in the product"),
    ("none may stand between", "pin the CA that signed the AK's certificate itself"),
    ("does not say that its key signs", "certifies_aks_only wants the key usage digitalSignature"),
    ("unknown critical extension", "it must be known here to count: ask for a certificate without it"),
    ("is not supported", "pin a CA below the one with these constraints"),
    ("algorithm is not on the list", "sign with ECDSA or RSA PKCS #1 v1.5, and SHA-256, SHA-384 or SHA-512"),
    ("signature algorithm", "wanted are ECDSA, RSA PKCS #1 v1.5 (SHA-256, -384, -512) or Ed25519"),
    ("is not a chip id", "name another rule for the chip id in the product: `chip_id`"),
    ("attributes", "name another rule for the chip id in the product: `chip_id`"),
    ("firmware that is not accepted holds", "add the layer's FWID to the product's measurements"),
    ("the chip is in state", "lock the chip before it attests: an open one is always refused"),
    ("CompositeDeviceID", "its firmware cannot be judged: ask the chip's vendor for chips with TcbInfo"),
    ("TcbInfo is malformed", "it is not TCG DICE's form: an older one, or another's"),
    ("lifecycle", "move the chip's lifecycle to `secured`: before that its keys may be read"),
    ("implementation id", "add it to the product's implementation_ids, if the vendor says that it is his"),
    ("unprotected header", "leave the key id out of the token's header (TF-M: ATTEST_INCLUDE_COSE_KEY_ID)"),
    ("claims of two profiles", "one profile a token: docs/evidence.md names them"),
    ("the key lacks", "make the key in the TPM: tpm2_create with fixedtpm, fixedparent, sensitivedataorigin,"
     " userwithauth and sign"),
    ("the key has", "make a key that signs and does nothing else: neither restricted nor decrypt"),
    ("bare public key", "AT%KEYGEN=<sec_tag>,2,0: type 2 gives a CSR"),
    ("weak", "the key can be computed or guessed: make a new one, and find out how this one was made"),
    ("does not fit the key in it", "the CSR was changed after it was signed, or signed with another key"),
    ("asks for an extension twice", "name each extension once"),
    ("asks for", "a board's CSR asks for no CA: leave the extension out"),
    ("is not accepted", "name its type in the product's keys.accept, or make a key of another type"),
)  # fmt: skip


def remedy_for(reason: str) -> str:
    """What to do about a refusal with this reason."""
    return next((remedy for words, remedy in _REMEDIES if words in reason), EVIDENCE_PAGE)
