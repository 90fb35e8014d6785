"""Secrets sealed to keys in tokens (docs/formats.md, "Sealed secrets").

A token that cannot hold a key of some kind can still open what was sealed to a key that it does hold. Each
secret is 32 random bytes, sealed to every recipient (`core/recipient.py`). Opening takes one operation of a
token.

Guarantees: a file that is read has one spelling, is bounded, and every point in it lies on its curve. Role
and origin are bound, so that one secret is not taken for another. It does not say who sealed: whoever has
the public keys can seal another secret. Hence `commitment`, which is kept elsewhere and compared on opening.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import rfc8785
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signerd.core.recipient import SECRET_BYTES, PrivateKeyUse, Recipient, SealingError, Secret

MAX_RECIPIENTS = 8
MAX_FILE = 65_536  # bytes; two secrets to eight RSA keys of 4096 bits have some 27,000
_FORMAT = "birthmark-sealed-v1"
_COMMITMENT = b"birthmark-commitment-v1"
_ORIGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9./_-]{0,127}")
SEALING = "sealing"  # what a token offers, beside roles: to open what is sealed to it


class KeyRole(StrEnum):
    """What a sealed secret is for."""

    CHECKPOINT = "checkpoint"  # the Ed25519 seed of the log's key (RFC 8032 §5.1.5)
    CHIP_MASTER = "chip-master"  # the HMAC key from which chips' keys follow


@dataclass(frozen=True, slots=True)
class SealedSecrets:
    """The file: each secret once for each recipient, in the recipients' order."""

    origin: str
    recipients: tuple[Recipient, ...]
    secrets: Mapping[KeyRole, tuple[bytes, ...]]

    def encode(self) -> bytes:
        """The file's bytes."""
        return (
            rfc8785.dumps(
                {
                    "format": _FORMAT,
                    "origin": self.origin,
                    "recipients": [recipient.item() for recipient in self.recipients],
                    "secrets": {
                        role.value: [copy.hex() for copy in copies] for role, copies in self.secrets.items()
                    },
                }
            )
            + b"\n"
        )


def seal(origin: str, secrets: Mapping[KeyRole, Secret], recipients: Sequence[Recipient]) -> SealedSecrets:
    """Seals each secret to each recipient.

    Raises:
        SealingError: no or too many recipients, one of them twice or no point, or a secret of another size.
    """
    sealed = SealedSecrets(
        origin,
        tuple(recipients),
        {
            role: tuple(_sealed(origin, role, secret, recipient) for recipient in recipients)
            for role, secret in secrets.items()
        },
    )
    _check(sealed)
    return sealed


def with_recipients(
    sealed: SealedSecrets, secrets: Mapping[KeyRole, Secret], recipients: Sequence[Recipient]
) -> SealedSecrets:
    """The same secrets for another list of recipients; what is sealed to those that stay, stays as it is.

    Raises:
        SealingError: too many or none, one of them twice or no point, or a secret is missing.
    """
    if set(secrets) != set(sealed.secrets):
        raise SealingError("a recipient is given all the secrets, or none")
    before = {recipient: place for place, recipient in enumerate(sealed.recipients)}
    changed = replace(
        sealed,
        recipients=tuple(recipients),
        secrets={
            role: tuple(
                copies[before[recipient]]
                if recipient in before
                else _sealed(sealed.origin, role, secrets[role], recipient)
                for recipient in recipients
            )
            for role, copies in sealed.secrets.items()
        },
    )
    _check(changed)
    return changed


def open_into(
    sealed: SealedSecrets, role: KeyRole, recipient: Recipient, use: PrivateKeyUse, into: memoryview
) -> None:
    """Opens one secret with the recipient's private key, and writes it to `into`, of `SECRET_BYTES`.

    Raises:
        SealingError: it is not sealed to this recipient, was altered, or is of another role or origin.
        Whatever `use` raises.
    """
    if recipient not in sealed.recipients or role not in sealed.secrets:
        raise SealingError(f"the {role} secret is not sealed to this key")
    copy = sealed.secrets[role][sealed.recipients.index(recipient)]
    try:
        recipient.open_into(_info(sealed.origin, role), copy, use, into)
    except InvalidTag as error:
        raise SealingError(f"the {role} secret does not open with this key: the file was altered") from error


def commitment(role: KeyRole, origin: str, secret: Secret) -> bytes:
    """What stands in ledger and configuration for a secret, 32 bytes that tell nothing of it.

    The checkpoint's is the log's public key itself; of any other, a digest that names role and origin.
    """
    if role is KeyRole.CHECKPOINT:
        return Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    digest = hashlib.sha256()
    for part in (_COMMITMENT, role.encode(), origin.encode(), secret):
        digest.update(len(part).to_bytes(2, "big") + part)
    return digest.digest()


def read_sealed(data: bytes) -> SealedSecrets:
    """Reads the file.

    Raises:
        SealingError: it is too large, of another form or spelling, or a point is not on its curve.
    """
    if len(data) > MAX_FILE:
        raise SealingError(f"more than {MAX_FILE} bytes")
    try:
        sealed = _parse(json.loads(data))
        canonical = sealed.encode()
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise SealingError(f"not {_FORMAT}") from error
    if canonical != data:
        raise SealingError("not in its one spelling (RFC 8785 and a newline)")
    _check(sealed)
    return sealed


def _parse(item: dict[str, object]) -> SealedSecrets:
    match item:
        case {
            "format": "birthmark-sealed-v1",
            "origin": str(origin),
            "recipients": list(recipients),
            "secrets": dict(secrets),
        } if len(item) == 4:
            pass
        case _:
            raise SealingError(f"not {_FORMAT}")
    return SealedSecrets(
        origin,
        tuple(Recipient.parse(each) for each in recipients),
        {KeyRole(role): tuple(bytes.fromhex(copy) for copy in copies) for role, copies in secrets.items()},
    )


def _check(sealed: SealedSecrets) -> None:
    recipients = sealed.recipients
    if not _ORIGIN.fullmatch(sealed.origin):
        raise SealingError("the origin is not of its form")
    if not 1 <= len(recipients) <= MAX_RECIPIENTS:
        raise SealingError(f"secrets are sealed to 1 to {MAX_RECIPIENTS} keys, not {len(recipients)}")
    if len(set(recipients)) != len(recipients):
        raise SealingError("secrets are sealed twice to one key: name another one, or name it once")
    if not sealed.secrets:
        raise SealingError("no secret is sealed")
    for recipient in recipients:
        recipient.key()
    for role, copies in sealed.secrets.items():
        if len(copies) != len(recipients):
            raise SealingError(f"the {role} secret is not sealed to each key")
        for recipient, copy in zip(recipients, copies, strict=True):
            recipient.check(copy)


def _info(origin: str, role: KeyRole) -> bytes:
    """What a copy is bound to. No origin holds a newline."""
    return f"{_FORMAT}\n{role}\n{origin}\n".encode()


def _sealed(
    origin: str, role: KeyRole, secret: bytes | bytearray | memoryview, recipient: Recipient
) -> bytes:
    if len(secret) != SECRET_BYTES:
        raise SealingError(f"a secret has {SECRET_BYTES} bytes")
    return recipient.seal(_info(origin, role), secret)
