"""Which of signerd's keys a token can hold, told from the mechanisms that it names (deploy/hsm/README.md).

A key that the token cannot hold is sealed to one that it can, if the token agrees on secrets (ECDH) or, where
it does not, decrypts with RSA (OAEP). The sub-CA's key is never sealed: a token that cannot sign is no token
for signerd.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Where(StrEnum):
    """Where a key can be kept."""

    TOKEN = "token"  # noqa: S105 # a place
    SEALED = "sealed"
    NOWHERE = "nowhere"


@dataclass(frozen=True, slots=True)
class RoleOffer:
    """A key of signerd's, and what a token has for it."""

    role: str
    where: Where
    used_by: str  # the mechanism, without CKM_; empty where the token has none
    made_by: str  # the mechanism that makes it; empty: the vendor's tool may have a way


@dataclass(frozen=True, slots=True)
class _Need:
    role: str
    uses: tuple[tuple[str, str], ...]  # any of them: mechanism, flag
    makes: str
    sealable: bool = False


_SEALING = (
    _Need("sealing, ECDH", (("ECDH1_DERIVE", "DERIVE"),), "EC_KEY_PAIR_GEN"),
    _Need("sealing, RSA", (("RSA_PKCS_OAEP", "DECRYPT"),), "RSA_PKCS_KEY_PAIR_GEN"),
)
_NEEDS = (
    _Need("sub-CA, EC", (("ECDSA", "SIGN"),), "EC_KEY_PAIR_GEN"),
    _Need("sub-CA, RSA", (("SHA256_RSA_PKCS", "SIGN"), ("RSA_PKCS", "SIGN")), "RSA_PKCS_KEY_PAIR_GEN"),
    _Need("checkpoint", (("EDDSA", "SIGN"),), "EC_EDWARDS_KEY_PAIR_GEN", sealable=True),
    _Need("chip master", (("SHA256_HMAC", "SIGN"),), "GENERIC_SECRET_KEY_GEN", sealable=True),
    *_SEALING,
)
Flags = Mapping[str, frozenset[str]]
"""What each mechanism of the token is for: names as PKCS #11 has them, without CKM_ and CKF_."""


def roles(flags: Flags) -> list[RoleOffer]:
    """Each key of signerd's in its place."""
    can_seal = any(_use(need, flags) for need in _SEALING)
    return [_offer(need, flags, can_seal=can_seal) for need in _NEEDS]


def _offer(need: _Need, flags: Flags, *, can_seal: bool) -> RoleOffer:
    use = _use(need, flags)
    made_by = need.makes if use and need.makes in flags else ""
    if use:
        return RoleOffer(need.role, Where.TOKEN, use, made_by)
    return RoleOffer(need.role, Where.SEALED if need.sealable and can_seal else Where.NOWHERE, "", "")


def _use(need: _Need, flags: Flags) -> str:
    return next((name for name, flag in need.uses if flag in flags.get(name, ())), "")
