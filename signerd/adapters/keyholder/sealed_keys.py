"""Keys that the token cannot hold: opened once, at the key holder's start, and kept in its locked memory.

Guarantees that a secret is used only if it is the one of the settings: the log's public key for the
checkpoint, `master_commitment` for the master key. Whoever has the token's public key can seal another secret
to it: that one is refused. A library that calculates with a secret has a copy during one call; nothing else
keeps one.
"""

from __future__ import annotations

import hmac
import mmap
import secrets as random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signerd.adapters.keyholder.hardening import locked_memory
from signerd.adapters.keyholder.protocol import Setup
from signerd.adapters.keyholder.token import SealingKey, Token, WrongSettingsError
from signerd.core import note
from signerd.core.internal_key import secret_text
from signerd.core.names import Place
from signerd.core.recipient import SECRET_BYTES, Recipient, SealingError
from signerd.core.sealing import (
    KeyRole,
    SealedSecrets,
    commitment,
    open_into,
    read_sealed,
    seal,
    with_recipients,
)


class SigningKey(Protocol):
    """The checkpoint key, wherever it is."""

    def sign(self, message: bytes) -> bytes:
        """Ed25519, 64 bytes."""


class MacKey(Protocol):
    """The master key, wherever it is."""

    def mac(self, message: bytes) -> bytes:
        """HMAC-SHA-256, 32 bytes."""


@dataclass(frozen=True, slots=True)
class _OpenedCheckpointKey:
    _secret: memoryview

    def sign(self, message: bytes) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(self._secret).sign(message)

    def mac(self, message: bytes) -> bytes:
        """HMAC-SHA-256 with the seed."""
        return hmac.digest(self._secret, message, "sha256")


@dataclass(frozen=True, slots=True)
class _OpenedMasterKey:
    _secret: memoryview

    def mac(self, message: bytes) -> bytes:
        return hmac.digest(self._secret, message, "sha256")


def checkpoint_key(setup: Setup, token: Token) -> SigningKey | None:
    """The log's key, or None beside a further CA key. Raises TokenError."""
    if setup.checkpoint_key_in == Place.NONE:
        return None
    if setup.checkpoint_key_in != Place.SEALED:
        return token.checkpoint_key(setup.checkpoint_key)
    public_key = note.parse_vkey(setup.vkey).public_key
    return _OpenedCheckpointKey(_open(setup, token, KeyRole.CHECKPOINT, public_key))


def master_key(setup: Setup, token: Token) -> MacKey | None:
    """The chips' master key, or None where the installation has none. Raises TokenError."""
    if setup.master_key_in == Place.NONE:
        return None
    if setup.master_key_in != Place.SEALED:
        return token.master_key(setup.master_key)
    return _OpenedMasterKey(_open(setup, token, KeyRole.CHIP_MASTER, setup.master_commitment))


def internal_mac(checkpoint: SigningKey | None, master: MacKey | None) -> MacKey | None:
    """From what the internal key follows: the master key; without one, the checkpoint's seed if it is sealed.
    None: there is no such secret."""
    if master is None and isinstance(checkpoint, _OpenedCheckpointKey):
        return checkpoint
    return master


@dataclass(frozen=True, slots=True)
class _SignedSecret:
    """A secret that a checkpoint key in the token stands for: its signature over a text of our own (RFC 8032:
    the same each time), which never leaves this process."""

    _secret: bytes

    def mac(self, message: bytes) -> bytes:
        return hmac.digest(self._secret, message, "sha256")


def commit_mac(
    checkpoint: SigningKey | None, master: MacKey | None, log: note.VerifierKey | None
) -> MacKey | None:
    """From what the keys of commits follow: what the internal key follows from; else a signature of the
    checkpoint key. None: there is neither, or the token signs otherwise each time."""
    internal = internal_mac(checkpoint, master)
    if internal is not None or checkpoint is None or log is None:
        return internal
    text = secret_text(log.name)
    signature = checkpoint.sign(text)
    return _SignedSecret(signature) if hmac.compare_digest(signature, checkpoint.sign(text)) else None


@dataclass(frozen=True, slots=True)
class OpenedSecrets:
    """All that is sealed, opened by a token for other tokens."""

    own: Recipient  # the token that opened
    _sealed: SealedSecrets
    _secrets: Mapping[KeyRole, memoryview]

    @classmethod
    def open(cls, setup: Setup, token: Token) -> OpenedSecrets:
        """Raises TokenError: one does not open, or is not the installation's."""
        key = token.sealing_key(setup.sealing_key)
        expected = {
            KeyRole.CHECKPOINT: lambda: note.parse_vkey(setup.vkey).public_key,
            KeyRole.CHIP_MASTER: lambda: setup.master_commitment,
        }
        try:
            sealed = read_sealed(setup.sealed)
        except SealingError as error:
            raise WrongSettingsError(f"the sealed secrets: {error}") from error
        opened = {role: _open_with(key, sealed, role, expected[role]()) for role in sealed.secrets}
        return cls(key.recipient, sealed, opened)

    def sealed_to(self, recipients: Sequence[Recipient]) -> SealedSecrets:
        """Raises SealingError: this token is not among them, or they are no list of recipients."""
        if self.own not in recipients:
            raise SealingError("this token has to stay: whether the others open, nobody has seen")
        return with_recipients(self._sealed, self._secrets, recipients)


def _open(setup: Setup, token: Token, role: KeyRole, expected: bytes) -> memoryview:
    key = token.sealing_key(setup.sealing_key)
    try:
        sealed = read_sealed(setup.sealed)
    except SealingError as error:
        raise WrongSettingsError(f"the sealed secrets: {error}") from error
    return _open_with(key, sealed, role, expected)


def _open_with(key: SealingKey, sealed: SealedSecrets, role: KeyRole, expected: bytes) -> memoryview:
    secret = _locked()
    try:
        open_into(sealed, role, key.recipient, key.use, secret)
    except SealingError as error:
        raise WrongSettingsError(f"the sealed {role} secret: {error}") from error
    if not hmac.compare_digest(commitment(role, sealed.origin, secret), expected):
        raise WrongSettingsError(
            f"the sealed {role} secret is not this installation's: its commitment is another one, so somebody"
            " else sealed it. Restore the file from the backup, and find out who changed it"
        )
    return secret


def _locked() -> memoryview:
    try:
        return locked_memory(mmap.PAGESIZE)[:SECRET_BYTES]
    except OSError as error:
        raise WrongSettingsError(
            f"no memory can be locked for a sealed secret ({error.strerror}): raise the limit, LimitMEMLOCK="
            " of systemd or `ulimit -l`, to 1 MB"
        ) from error


@dataclass(frozen=True, slots=True)
class NewSecrets:
    """Secrets that were just made, in locked memory."""

    origin: str
    secrets: Mapping[KeyRole, memoryview]

    @classmethod
    def make(cls, origin: str, roles: Sequence[KeyRole]) -> NewSecrets:
        """Raises TokenError."""
        made = {role: _locked() for role in roles}
        for secret in made.values():
            secret[:] = random.token_bytes(SECRET_BYTES)
        return cls(origin, made)

    def sealed_to(self, recipients: Sequence[Recipient]) -> SealedSecrets:
        """Raises SealingError."""
        return seal(self.origin, self.secrets, recipients)

    def demand_opens(self, sealed: SealedSecrets, key: SealingKey) -> None:
        """Raises TokenError: what was sealed to this key does not open with it."""
        for role in self.secrets:
            _open_with(key, sealed, role, self.commitment(role)).release()

    def commitment(self, role: KeyRole) -> bytes:
        """Of one of them."""
        return commitment(role, self.origin, self.secrets[role])
