"""A successor of the log's key: made in a token, or sealed to one, and made known to ledger and settings.

Files are in `checkpoint-keys/`, by key id. `next.toml` is the section of the settings, and the mark that a
key waits for it. What a crash leaves, and what the next `signerd checkpoint-key add` does:

    1  the key in the token, no file           a key that nobody uses: it takes another name (--key)
    2  ID.vkey, ID.sealed.json                 files that nobody names; a sealed seed opens nothing
    3  next.toml                               goes on with this key
    4  announced                               goes on; it is not announced a second time
    5  the section in the settings             removes next.toml
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import BaseModel, ConfigDict, Field

from signerd.adapters.installation.further_issuer import toml_lines
from signerd.adapters.installation.keys import generate_checkpoint_key, prove_keys
from signerd.adapters.installation.layout import PUBLIC, write_new
from signerd.adapters.installed_files import add_to, owned_folder, owner_of, replace_beside
from signerd.adapters.keyholder.pool import rejected_pins, settings_of_checkpoint_key
from signerd.adapters.keyholder.sealed_file import read_sealed_file
from signerd.adapters.keyholder.service.settings import KeyHolderConfig
from signerd.adapters.pin import read_pin
from signerd.adapters.recipients import SealedPart
from signerd.config import CheckpointKeySettings, Config, Keys, read_settings
from signerd.core.file_problems import FileKind, FileProblem, parse_file
from signerd.core.note import VerifierKey, parse_vkey
from signerd.core.recipient import Recipient
from signerd.errors import Code, ConfigError, Refused

FOLDER = "checkpoint-keys"
_GIVE_UP = "Mend it; or remove it, and add another key."
_NEXT = FileKind(
    "signerd checkpoint-key add", "signerd's user", "deploy/examples/signerd.toml, [[checkpoint_keys]],"
)


class _Next(BaseModel):
    """What `section` wrote."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint_keys: Annotated[tuple[CheckpointKeySettings, ...], Field(min_length=1, max_length=1)]


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key that could sign, and what to announce of it."""

    verifier: VerifierKey
    settings: CheckpointKeySettings
    recipients: tuple[bytes, ...]  # SHA-256 of each token key that opens it


def begun(base: Path) -> MadeKey | None:
    """The key of an `add` that was cut short. Raises ConfigError."""
    path = base / FOLDER / "next.toml"
    if not path.exists():
        return None
    try:
        (settings,) = parse_file(path, path.read_bytes(), _Next, _NEXT, {"base": base}).checkpoint_keys
        return _made(settings, parse_vkey(settings.vkey.read_text("ascii")))
    except FileProblem as error:
        raise ConfigError(f"{error.what}. {_GIVE_UP}") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: the key that it names cannot be read: {error}. {_GIVE_UP}") from error


def demand_none_begun(base: Path) -> None:
    """A seed that waits to be announced is sealed to the recipients of when it was made. Raises Refused."""
    made = begun(base)
    if made is not None and made.recipients:
        raise Refused(
            Code.INVALID,
            f"key {made.verifier.key_id.hex()} of the log waits to be announced, and only today's recipients"
            f" can open it: finish `signerd checkpoint-key add` first, or give the key up and remove"
            f" {base / FOLDER / 'next.toml'}",
        )


def make(config: Keys, base: Path, wanted: CheckpointKeySettings, recipients: Sequence[bytes]) -> MadeKey:
    """Makes the key, and has the token prove it.

    Args:
        config: the installation's.
        base: its directory.
        wanted: the token and the key's name, with the verifier key's file and the seed's still to be named.
        recipients: SubjectPublicKeyInfo of tokens that are to open a sealed seed, beside this one.

    Raises:
        ConfigError: a file cannot be written, or the token has an object of the key's name.
        WrongPin: the token rejected the PIN, now or before.
        Unavailable: the token does not make the key.
    """
    folder = base / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    pin = read_pin(wanted.pin, base)
    try:
        public, sealed = asyncio.run(
            generate_checkpoint_key(
                wanted,
                pin,
                rejected_pins(config, wanted),
                origin=config.ledger.origin,
                recipients=recipients,
            )
        )
    finally:
        pin[:] = bytes(len(pin))
    verifier = VerifierKey(config.ledger.origin, public)
    key_id = verifier.key_id.hex()
    vkey, seed = folder / f"{key_id}.vkey", folder / f"{key_id}.sealed.json"
    write_new(vkey, f"{verifier.text()}\n".encode(), PUBLIC)
    if wanted.key_in == "sealed":
        write_new(seed, sealed, 0o600)
    settings = wanted.model_copy(update={"vkey": vkey, "sealed": seed if wanted.key_in == "sealed" else None})
    made = _made(settings, verifier)
    asyncio.run(prove_keys(settings_of_checkpoint_key(config, settings, verifier), settings.pin, base))
    write_new(folder / "next.toml", section(settings, base).encode(), PUBLIC)
    return made


def _made(settings: CheckpointKeySettings, verifier: VerifierKey) -> MadeKey:
    if settings.sealed is None:
        return MadeKey(verifier, settings, ())
    sealed = read_sealed_file(settings.sealed)
    return MadeKey(verifier, settings, tuple(each.spki_sha256() for each in sealed.recipients))


def finish(config: Path, made: MadeKey, service: Path | None, held: Path) -> None:
    """The settings' section, and the end of the mark. Once more, it adds nothing.

    Args:
        config: signerd's settings.
        made: the key.
        service: the socket of the key holder's service that has the token; None: signerd has it.
        held: then, the service's settings, which get the token's section; signerd's get the socket.

    Raises:
        ConfigError: settings cannot be written (and what to add).
    """
    mark = held.parent / FOLDER / "next.toml"
    if service is None:
        _add_section(config, made.settings, Config)
        mark = config.parent / FOLDER / "next.toml"
    else:
        owned_folder(held, held.parent / FOLDER)
        for path in (made.settings.vkey, made.settings.sealed):
            if path is not None:
                os.chown(path, *owner_of(held))
        _add_section(held, made.settings, KeyHolderConfig)
        vkey = config.parent / FOLDER / made.settings.vkey.name
        owned_folder(config, vkey.parent)
        replace_beside(config, vkey, f"{made.verifier.text()}\n".encode(), PUBLIC)
        named = {"vkey": vkey, "service": service, "key_in": made.settings.key_in}
        _add_section(config, CheckpointKeySettings.model_validate(named), Config)
    mark.unlink(missing_ok=True)


def _add_section(config: Path, key: CheckpointKeySettings, kind: type[Keys]) -> None:
    """A crash leaves the settings of before, or those with the section."""
    if any(each.vkey.resolve() == key.vkey.resolve() for each in read_settings(config, kind).checkpoint_keys):
        return
    add_to(config, section(key, config.parent))
    read_settings(config, kind)


def section(settings: CheckpointKeySettings, base: Path) -> str:
    """Lines of TOML, with files relative to the settings."""
    values = settings.model_dump(mode="json", exclude_defaults=True)
    for name in ("vkey", "sealed"):
        if values.get(name) is not None:
            values[name] = os.path.relpath(values[name], base)
    return f"\n# Made by `signerd checkpoint-key add`.\n[[checkpoint_keys]]\n{toml_lines(values)}"


def recipients_of(parts: Sequence[SealedPart], spares: Sequence[Path]) -> list[bytes]:
    """Who is to open a sealed seed: those of what is sealed already, and `spares` (public keys, PEM). Raises
    ConfigError."""
    found: list[Recipient] = [recipient for part in parts for recipient in part.recipients]
    for path in spares:
        try:
            found.append(Recipient.of(load_pem_public_key(path.read_bytes())))
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise ConfigError(f"{path} holds no public key of a token in PEM: {error}") from error
    return [each.spki() for each in dict.fromkeys(found)]
