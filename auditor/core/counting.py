"""What a chip must have been counted under before its evidence can count.

A company's secret is burned into a chip at a trusted place (`chips_personalized`), and an attestation key
that no vendor certified is imported (`identities_imported`): both entries count chips. No more chips may
show evidence that rests on such a secret or key than were counted.

The names: a kind of chip key (`hmac-sha256`, `psa-iak-sha384`); `psa-iak` for a token's MAC where the hash
is not known, which only the evidence tells; or method and product of an imported identity.
"""

from __future__ import annotations

from collections.abc import Mapping

from auditor.core.entry import CHIP_KEY, CHIP_KEYS, Issued

PSA_MAC = "psa-iak"


def identities(method: str, product: str) -> str:
    """The name for imported identities of a product's chips."""
    return f"{method} {product}"


def counted_under(entry: Issued) -> str:
    """What an entry alone tells; empty for evidence that rests on no count, or of which only the evidence
    itself can tell (`tpm2`, whose attestation keys may be certified)."""
    if entry.method == CHIP_KEY:
        return CHIP_KEY
    if entry.method == "psa-token" and entry.attester_sha256 is None:
        return PSA_MAC
    if entry.method in {"psa-token", "nrf91"}:
        return identities(entry.method, entry.product)
    return ""


def mark(entry: Issued) -> str:
    """What the books keep of it with the certificate."""
    name = counted_under(entry)
    return f"{name}/{entry.level}" if name else ""


def known(counts: Mapping[str, int], name: str) -> int:
    """How many chips were counted under a name."""
    if name == PSA_MAC:
        return sum(counts.get(key, 0) for key in CHIP_KEYS if key != CHIP_KEY)
    return counts.get(name, 0)
