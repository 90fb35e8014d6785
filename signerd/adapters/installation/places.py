"""Where an installation keeps the keys that a token need not hold, and to which tokens it seals them.

The CA key is in the token, always. The log's checkpoint key and the chips' master key are there where it can
hold them; else they are sealed to its key, and to a spare's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from signerd.core.names import Place
from signerd.core.recipient import Recipient, SealingError
from signerd.core.sealing import MAX_RECIPIENTS, SEALING, KeyRole
from signerd.errors import ConfigError

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_OPTION = {KeyRole.CHECKPOINT: "--checkpoint-key", KeyRole.CHIP_MASTER: "--master-key"}
_NEEDS = {KeyRole.CHECKPOINT: "an Ed25519 key", KeyRole.CHIP_MASTER: "an HMAC-SHA-256 key"}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the administrator said; None: as the token can."""

    checkpoint_key: Place | None = None
    master_key: Place | None = None
    spares: tuple[Path, ...] = ()  # public keys or certificates in PEM
    no_spare: bool = False
    ca_key: str | None = None  # of a key that is in the token already, as is the next
    sealing_key: str | None = None


NO_WISHES = Wishes()


@dataclass(frozen=True, slots=True)
class Places:
    """What was decided. `spares`: SubjectPublicKeyInfo of each."""

    checkpoint_key: Place = Place.TOKEN
    master_key: Place = Place.TOKEN
    spares: tuple[bytes, ...] = ()
    there: tuple[str, ...] = ()  # names of keys that are taken, and not made

    @property
    def seals(self) -> bool:
        """Whether a key is sealed."""
        return Place.SEALED in (self.checkpoint_key, self.master_key)


def decide(wishes: Wishes, offers: Collection[str]) -> Places:
    """Each key where the administrator wants it, else where the token can have it.

    Raises:
        ConfigError: the token cannot do it, nobody said what becomes of the keys if it is lost, or a spare's
            file is none.
    """
    there = tuple(name for name in (wishes.ca_key, wishes.sealing_key) if name is not None)
    checkpoint_key = _place(KeyRole.CHECKPOINT, wishes.checkpoint_key, offers)
    master_key = _place(KeyRole.CHIP_MASTER, wishes.master_key, offers)
    if Place.SEALED not in (checkpoint_key, master_key):
        if wishes.spares or wishes.no_spare:
            raise ConfigError("nothing is sealed: leave --spare and --no-spare out")
        if wishes.sealing_key is not None:
            raise ConfigError("nothing is sealed: leave --sealing-key out")
        return Places(checkpoint_key, master_key, there=there)
    if SEALING not in offers:
        raise ConfigError(
            "the token can neither hold each key nor open what is sealed to it (CKM_ECDH1_DERIVE or"
            " CKM_RSA_PKCS_OAEP): use another one"
        )
    if bool(wishes.spares) == wishes.no_spare:
        raise ConfigError(
            "keys are sealed to the token, and are lost with it: give a second token's public key"
            ' (--spare FILE), or --no-spare (docs/operations.md, "Keys that the token cannot hold")'
        )
    return Places(checkpoint_key, master_key, _spares(wishes.spares), there)


def _spares(files: Sequence[Path]) -> tuple[bytes, ...]:
    found = tuple(read_recipient(path).spki() for path in files)
    if len(set(found)) != len(found):
        raise ConfigError("two spares have the same key: name each once")
    if len(found) >= MAX_RECIPIENTS:
        raise ConfigError(f"at most {MAX_RECIPIENTS - 1} spares")
    return found


def _place(role: KeyRole, wish: Place | None, offers: Collection[str]) -> Place:
    if wish is None:
        return Place.TOKEN if role in offers else Place.SEALED
    if wish is Place.NONE and role is KeyRole.CHECKPOINT:
        raise ConfigError("the log needs its checkpoint key: --checkpoint-key token or sealed")
    if wish is Place.TOKEN and role not in offers:
        raise ConfigError(f"the token cannot hold {_NEEDS[role]}: {_OPTION[role]} sealed")
    return wish


def read_recipient(path: Path) -> Recipient:
    """The token key in a file, PEM: a public key, or a certificate of it. Raises ConfigError."""
    try:
        data = path.read_bytes()
        if _CERTIFICATE in data:
            key: object = x509.load_pem_x509_certificate(data).public_key()
        else:
            key = load_pem_public_key(data)
        return Recipient.of(key)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (SealingError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path}: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is neither a public key nor a certificate in PEM") from error
